"""layers.py - checks layers.txt (who may include what), banned functions, and the head of every file.

Touches  nothing.
Never    guesses: a file in a folder without a rule may include anything of ours.
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|atoll|strtok|gets|alloca|tmpnam|mktemp)\s*\(")
FILE_LINES_MAX = 600


def read_rules():
    folders, libraries = {}, {}
    for line in (TOP / "tests/lint/layers.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            {"folder": folders, "library": libraries}[words[0]][words[1]] = words[2:]
    return folders, libraries


def allowed(name, rules):
    return any(name == rule or (rule.endswith("/") and name.startswith(rule)) for rule in rules)


def blank(found):
    """Comments and texts as blanks of the same shape, so that line numbers hold."""
    return re.sub(r"[^\n]", " ", found.group())


def check_includes(name, text, folders, libraries):
    folder = str(pathlib.PurePath(name).parent)
    for mark in INCLUDE.finditer(text):
        line, target = text.count("\n", 0, mark.start()) + 1, mark.group(2)
        library = re.split(r"[./]", target)[0]
        if mark.group(1) == '"' and folder in folders and not allowed(target, folders[folder]):
            yield f"{name}:{line}: {folder} may not include {target}"
        if mark.group(1) == "<" and library in libraries and not allowed(name, libraries[library]):
            yield f"{name}:{line}: only {', '.join(libraries[library])} may include {target}"


def check_text(name, text):
    if not text.startswith(f"/* {pathlib.PurePath(name).name} - "):
        yield f"{name}:1: the file does not open with its purpose"
    if text.count("\n") > FILE_LINES_MAX and not name.startswith("tests/"):
        yield f"{name}: more than {FILE_LINES_MAX} lines"
    if not text.isascii():
        yield f"{name}: not ASCII"
    for mark in BANNED.finditer(COMMENT_OR_TEXT.sub(blank, text)):
        yield f"{name}:{text.count(chr(10), 0, mark.start()) + 1}: {mark.group(1)} is banned"


def main():
    folders, libraries = read_rules()
    problems = []
    for top in ("registry", "storage", "auth", "s2i", "tests"):
        for path in sorted((TOP / top).rglob("*.[ch]")):
            name, text = str(path.relative_to(TOP)), path.read_text()
            problems += check_text(name, text)
            if top != "tests":
                problems += check_includes(name, text, folders, libraries)
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
