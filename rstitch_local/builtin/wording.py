"""The words of the generated problems: people, things, and the sentences for each kind of event.

A sentence is a format string over `name she her friend things box boxes n k m`. The sentences for one event differ in
word order and in the first person named, so that the operation cannot be guessed from the position of a word.
"""

from __future__ import annotations

WOMEN = (
    "Mia", "Anna", "Lena", "Sara", "Zoe", "Emma", "Nora", "Ruth", "Ivy", "Clara", "Lucy", "Maria", "Ella", "Rosa",
    "Jane", "Amy", "Kate", "Lily",
)  # fmt: skip
MEN = (
    "Tom", "Ben", "Leo", "Max", "Sam", "Paul", "Omar", "Finn", "Jack", "Noah", "Adam", "Luis", "Karl", "Hugo",
    "Dan", "Peter", "Mark", "Tim",
)  # fmt: skip

THINGS = (
    ("apples", "basket", "baskets"), ("marbles", "bag", "bags"), ("pencils", "box", "boxes"),
    ("stickers", "pack", "packs"), ("cards", "pack", "packs"), ("books", "box", "boxes"),
    ("eggs", "carton", "cartons"), ("coins", "jar", "jars"), ("shells", "bucket", "buckets"),
    ("beads", "jar", "jars"), ("cookies", "tin", "tins"), ("flowers", "bunch", "bunches"),
    ("stamps", "album", "albums"), ("toys", "crate", "crates"), ("balloons", "pack", "packs"),
    ("plums", "crate", "crates"), ("nuts", "bowl", "bowls"), ("buttons", "jar", "jars"),
    ("candles", "box", "boxes"), ("pears", "basket", "baskets"), ("photos", "album", "albums"),
    ("seeds", "bag", "bags"), ("stones", "bucket", "buckets"), ("pens", "box", "boxes"),
)  # fmt: skip

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TIMES_WORDS = {2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}

START = (
    "{name} has {n} {things}.",
    "{name} starts with {n} {things}.",
    "There are {n} {things} on the table of {name}.",
    "{name} owns {n} {things}.",
    "In the morning {name} has {n} {things}.",
)
START_BOXES = (
    "{name} has {k} {boxes} with {m} {things} in each.",
    "{name} fills {k} {boxes} with {m} {things} each.",
    "There are {m} {things} in every {box}, and {name} has {k} {boxes}.",
    "Each {box} holds {m} {things}. {name} owns {k} full {boxes}.",
)
MORE = (
    "{She} buys {n} more.",
    "{name} finds {n} {things} in the garden.",
    "{friend} gives {her} {n} {things}.",
    "Then {name} gets {n} {things} from {friend}.",
    "Later {she} picks up {n} more {things}.",
    "{name} wins {n} {things} in a game.",
    "A parcel with {n} {things} arrives for {name}.",
    "{friend} brings {n} more {things} to {name}.",
)
FEWER = (
    "{She} gives {n} of them to {friend}.",
    "{name} loses {n} {things}.",
    "{She} sells {n} {things} at the market.",
    "{friend} takes {n} of them.",
    "Then {n} {things} break.",
    "{name} leaves {n} {things} at school.",
    "{friend} gets {n} {things} from {name}.",
    "Later {she} throws {n} {things} away.",
)
MORE_BOXES = (
    "{She} buys {k} {boxes} with {m} {things} in each.",
    "{friend} gives {her} {k} {boxes} of {m} {things}.",
    "Then {k} {boxes} arrive, each with {m} {things}.",
    "{She} also gets {m} {things} from each of {k} friends.",
)
FEWER_BOXES = (
    "{She} gives {m} {things} to each of {k} friends.",
    "{name} sells {k} {boxes} with {m} {things} in each.",
    "{She} hands {k} friends {m} {things} each.",
    "Then {k} children take {m} {things} each.",
)
MULTIPLY = (
    "By winter {she} has {k} times as many {things} as before.",
    "{friend} then makes the number of {things} {k} times as large.",
    "After a good year the number of {things} is {k} times what it was.",
)
DOUBLE = ("Then the number of {things} doubles.", "A week later {she} has twice as many.")
HALVE = ("{She} gives half of them away.", "Then half of the {things} are lost.")
KEEP_ONE = (
    "{She} puts them into {k} equal piles and keeps only one pile.",
    "{She} sorts all of them into {k} equal {boxes}, keeps one {box} and gives the others away.",
)
DISTRACT = (
    "{friend} is {n} years old.",
    "The walk to school takes {n} minutes.",
    "{friend} lives at number {n}.",
    "It is {n} degrees outside.",
)
ASK_NOW = (
    "How many {things} does {name} have now?",
    "How many {things} does {name} have in the end?",
    "How many {things} are there now?",
    "What is the number of {things} at the end?",
)
ASK_BOXES = (
    "{name} then packs all of them into {boxes} of {k}. How many {boxes} are filled?",
    "If {k} {things} go into one {box}, how many {boxes} does {name} need now?",
)
ASK_SHARE = (
    "{She} shares all of them equally among {k} friends. How many {things} does each friend get?",
    "{k} friends get the same number of {things} each until none is left. How many does each friend get?",
)
ASK_MONEY = (
    "{She} sells them all for {k} dollars each. How many dollars does {name} get?",
    "One of them costs {k} dollars. How many dollars are they worth together now?",
)
