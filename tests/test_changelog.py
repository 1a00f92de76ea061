from pathlib import Path

import disco
from tests.changelog import problems


def test_this_changelog_is_in_order():
    assert problems(Path("CHANGELOG.md").read_text(encoding="utf-8"), disco.__version__) == []


def test_a_missing_version_and_a_missing_section_are_named():
    assert problems("# Changelog\n\n## 0.0.9\n", "0.1.0") == [
        "CHANGELOG.md: the newest section is not 0.1.0, the version of disco/__init__.py"
    ]
    assert problems("# Changelog\n\n## 0.1.0\n### Added\n### Changed\n### Fixed\n", "0.1.0") == [
        "CHANGELOG.md: 0.1.0 has no section Pictures"
    ]
