"""Extension of Griffe: the reference of `StudySpec` lists its fields with their descriptions."""

from typing import Any

from griffe import Class, Docstring, ExprSubscript, ExprTuple, Extension

from search.study.schema import option_schemas


class FieldDescriptions(Extension):
    """Appends the fields, as the JSON Schema describes them, to the docstring of `StudySpec`."""

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        """Extend the docstring of `StudySpec`, and reduce annotations to the types of fields."""
        if cls.name != "StudySpec" or cls.docstring is None:
            return
        fields = (f"{name}\n    {about['description']}" for name, about in option_schemas().items())
        text = "\n".join([cls.docstring.value, "", "Attributes", "----------", *fields])
        cls.docstring = Docstring(text, parent=cls, parser="numpy")
        for field in cls.attributes.values():
            match field.annotation:
                case ExprSubscript(left=left, slice=ExprTuple(elements=[kind, *_])) if (
                    str(left) == "Annotated"
                ):
                    field.annotation = kind
