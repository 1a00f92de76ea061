"""One concern's settings: what all sections of settings share."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from disco.setting_fields import read_value


class Section(BaseModel):
    """One concern's settings. Every value goes through setting_fields.read_value, whatever wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    title: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            if isinstance(field.json_schema_extra, dict):
                field.json_schema_extra.setdefault("section", cls.title)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return read_value(value, section_facts(info.field_name or "", cls))


def section_facts(key: str, section: type[Section]) -> dict[str, Any]:
    """What setting_fields.setting() noted about a setting of a section. Raises KeyError."""
    extra = section.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return extra
