"""Extension of Griffe: the reference of `StudySpec` lists its fields with their descriptions."""

from typing import Any

from griffe import Class, Docstring, Extension

from search.study.schema import option_schemas


class FieldDescriptions(Extension):
    """Appends the fields, as the JSON Schema describes them, to the docstring of `StudySpec`."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Extend the docstring of `StudySpec`."""
        if cls.name != "StudySpec" or cls.docstring is None:
            return
        fields = (f"{name}\n    {about['description']}" for name, about in option_schemas().items())
        text = "\n".join([cls.docstring.value, "", "Attributes", "----------", *fields])
        cls.docstring = Docstring(text, parent=cls, parser="numpy")
