"""history.py - what clients asked for, what they were told, and what may therefore be true.

Touches  nothing but its own memory.
Never    asks the server; one history belongs to one client, whose requests follow each other.

A key is a thing the server holds; its value is what a reader of the server sees:
    ("blob", repository, digest)      True or None
    ("manifest", repository, digest)  True or None
    ("tag", repository, name)         the manifest's digest or None
    ("session", repository, path)     bytes the client was told are there, or None
An operation changes one or several keys, all or none. It was issued after effect number `issued`;
`acked` is the number read after the answer came, None while nobody knows.
"""
import math


class Operation:
    def __init__(self, issued, changes):
        self.issued, self.acked, self.changes = issued, None, changes

    def answered_by(self, cut):
        return self.acked is not None and self.acked <= cut


class History:
    def __init__(self):
        self.operations = []
        self.keys = {}  # key -> [(operation, value)], in the order of issue

    def begin(self, changes, issued):
        operation = Operation(issued, dict(changes))
        self.operations.append(operation)
        for key, value in operation.changes.items():
            self.keys.setdefault(key, []).append((operation, value))
        return operation

    def withdraw(self, operation):
        """It was refused, so it changed nothing."""
        self.operations.remove(operation)
        for key in operation.changes:
            self.keys[key] = [entry for entry in self.keys[key] if entry[0] is not operation]

    def settle(self, key, value, sequence):
        """The server was seen to hold this value."""
        operation = self.begin({key: value}, sequence)
        operation.acked = sequence

    def possible(self, key, cut=math.inf):
        """The values a reader may see when the effects up to `cut` have been issued."""
        values = {None}
        for operation, value in self.keys.get(key, ()):
            if operation.issued >= cut:
                break
            if operation.answered_by(cut):
                values = {value}
            else:
                values.add(value)
        return values

    def sure(self, key):
        """The one value, or None when in doubt."""
        values = self.possible(key)
        return next(iter(values)) if len(values) == 1 else None

    def doubtful(self, cut=math.inf):
        """Operations issued and not answered at the cut."""
        return [operation for operation in self.operations
                if operation.issued < cut and not operation.answered_by(cut)]

    def torn(self, operation, seen, cut=math.inf):
        """Whether `seen` (key -> value) shows the operation applied in part."""
        outcomes = set()
        for key, value in operation.changes.items():
            if key[0] == "session" or key not in seen:
                continue  # a session's end is compared by its own rules
            entries = [entry for entry in self.keys[key] if entry[0].issued < cut]
            if entries[-1][0] is not operation:
                continue  # something later was asked of this key
            before = History()
            before.keys[key] = entries[:-1]
            if value not in before.possible(key, cut):
                outcomes.add(seen[key] == value)
        return len(outcomes) > 1
