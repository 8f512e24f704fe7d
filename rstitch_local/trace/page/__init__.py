"""One answer to look at in a browser or a notebook: its tokens by model, with figures and a chart of the entropy.

Knows HTML, SVG and Trace; nothing of files, chats or problems. Nothing here asks the network for anything.
"""
