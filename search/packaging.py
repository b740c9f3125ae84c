"""A champion as an MLflow model folder: skops format, trusted types, signature, requirements.

Only the types listed here are ever written or read: scikit-learn's tree, and what a
`TableVectorizer` is made of.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature

TRUSTED_TYPES = (
    "datetime.timedelta",
    "datetime.timezone",
    "numpy.dtype",
    "pandas.DatetimeTZDtype",
    "sklearn.tree._tree.Tree",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_numeric",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._string_encoder.StringEncoder",
    "skrub._table_vectorizer.PassThrough",
    "skrub._table_vectorizer.ShortReprDict",
    "skrub._table_vectorizer.TableVectorizer",
    "skrub._table_vectorizer._created_by_predicate",
    "skrub._to_datetime.ToDatetime",
    "skrub._to_float.ToFloat",
    "skrub._to_str.ToStr",
    "skrub.selectors._base.All",
    "skrub.selectors._base.And",
    "skrub.selectors._base.Cols",
    "skrub.selectors._base.Filter",
    "skrub.selectors._base.Sub",
    "skrub.selectors._selectors._cardinality_below",
    "zoneinfo.ZoneInfo",
)
_REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "skrub", "numpy", "pandas")
_EXAMPLE_ROWS = 3


def save_model(pipeline: Any, dataset: Dataset, folder: Path, model: "Model") -> None:
    """Write the pipeline as an MLflow model folder.

    Parameters
    ----------
    model
        Carries what the folder's ``MLmodel`` says of where the model belongs.

    Raises
    ------
    mlflow.exceptions.MlflowException
        When the pipeline holds a type that is not in `TRUSTED_TYPES`; the message names it.
    """
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        mlflow_model=model,
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED_TYPES),
        signature=signature(pipeline, dataset),
        input_example=_example(dataset),
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
    )


def _example(dataset: Dataset) -> "pd.DataFrame":
    """Return the first rows as JSON has them: missing is null, dates and other objects are text."""
    import pandas as pd

    rows = dataset.features.head(_EXAMPLE_ROWS)
    text = rows.to_json(orient="split", index=False, date_format="iso", default_handler=str)
    plain = json.loads(text)
    return pd.DataFrame(plain["data"], columns=rows.columns, dtype=object)


def signature(pipeline: Any, dataset: Dataset) -> "ModelSignature":
    """Name the columns and take any value in each.

    A type inferred from training (``long``) would refuse a missing value, which the pipeline takes.
    """
    from mlflow.models import ModelSignature
    from mlflow.models.signature import infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    rows = dataset.features.head(_EXAMPLE_ROWS)
    outputs = infer_signature(model_output=pipeline.predict(rows)).outputs
    inputs = Schema([ColSpec(AnyType(), str(name)) for name in dataset.features.columns])
    return ModelSignature(inputs=inputs, outputs=outputs)
