"""`python -m rstitch_local` is `rstitch`."""

from rstitch_local.commands.main import main

if __name__ == "__main__":
    main()
