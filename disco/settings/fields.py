"""A field of the settings: its default and the facts about it, and the base class of the sections.

Each field carries its facts in `json_schema_extra`:
kind, ge, le, choices, unit, schedulable, pixels (changed by it?), section, no_effect (why, if it has none),
before (what runs and pictures without the key were rendered with, where that is not the default).
"""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from disco.settings.kinds import read_value


def setting(default: Any, kind: str, description: str, **facts: Any) -> Any:
    """A field of a Section. kind: a name in kinds.KINDS; the default is read as any value of that kind.

    facts: ge, le, choices (default: those of the field's Literal), unit, pixels (default True), no_effect,
    before.
    """
    extra = {"kind": kind, "pixels": True, "schedulable": kind.startswith("schedule:"), **facts}
    if kind != "choice":  # its choices are not known before the class is made
        default = read_value(default, extra)
    return Field(default, description=description, json_schema_extra=extra)


class Section(BaseModel):
    """One concern's settings. Every value goes through kinds.read_value, whatever wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    title: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            facts = field.json_schema_extra
            assert isinstance(facts, dict)
            facts.setdefault("section", cls.title)
            if facts["kind"] == "choice":
                facts.setdefault("choices", list(get_args(field.annotation)))

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return read_value(value, section_facts(info.field_name or "", cls))


def section_facts(key: str, section: type[Section]) -> dict[str, Any]:
    """What fields.setting() noted about a setting of a section. Raises KeyError."""
    extra = section.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return extra
