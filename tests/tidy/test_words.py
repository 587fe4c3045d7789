"""What no file of the repository says."""

import re

from tests.tidy import source

# A path that exists on one machine only.
MACHINE_PATH = re.compile(r"(?<![\w.:-])/(?:root|work|opt/py\w*|home/[a-z]\w*|Users/\w+|private/var)/")

EXCEPTION = re.compile(
    r"#\s*(?P<what>noqa\b(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)(?P<why>.*)"
)


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in source.texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_every_exception_from_the_lint_says_why() -> None:
    silent = []
    for path in source.python("src", "tests", "bench"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            exception = EXCEPTION.search(line)
            if exception and not re.search(r"\w{3}", exception["why"]):
                silent.append(f"{source.name(path)}:{number}: {exception['what']}")
    assert silent == []


def test_text_files_end_with_one_newline() -> None:
    wrong = [name for name, text in source.texts().items() if text and not re.search(r"[^\n]\n\Z", text)]
    assert wrong == []
