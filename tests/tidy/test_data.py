"""Data that others published comes with its source and its licence."""

from tests.tidy import source


def test_data_files_have_source_and_licence() -> None:
    for path in source.files():
        if path.suffix in {".gz", ".csv"}:
            readme = path.parent / "README.md"
            text = readme.read_text() if readme.exists() else ""
            assert path.name in text, source.name(path)
            assert "Source" in text, source.name(path)
            assert "Licence" in text, source.name(path)
