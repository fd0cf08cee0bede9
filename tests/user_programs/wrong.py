"""A program of a user with a mistake in each line that ends in ``# error``: type checkers must find all of them."""

import trimf

extract = trimf.load(42)  # error
extract = trimf.load(backend=1)  # error
extract = trimf.load(syntax="forest")  # error
extract = trimf.load(treshold=0.5)  # error
extract = trimf.load(parser=object())  # error
extract = trimf.load()
doc = extract(b"bytes")  # error
doc = extract("text")
docs = extract.stream([1, 2])  # error
docs = extract.words(["one", 2])  # error
label: int = doc.entities[0].label  # error
head: str = doc.relations[0].head  # error
doc.entities[0].name  # error  # noqa: B018
doc.text = "other"  # error
trimf.lode()  # error
trimf.Entity("0", 1, "text", "label", 0.5)  # error
