"""Saves a champion as an MLflow model folder in skops format, and loads it again.

Only the types listed here are ever written or read: scikit-learn's tree and encoders, skrub's
`SelectCols` and the parts of its `TableVectorizer`. A model is loaded only if its files are, to the
byte, those that were registered, and if the nodes of its trees stay within their arrays, which
scikit-learn does not check. The file is compressed, and has no part twice, unlike MLflow's.

MLflow's pyfunc flavor reads the rows with a copy of `search.model.served` in the folder.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from search.data.dataset import Dataset
from search.errors import DataError, StudyError
from search.model.provenance import SHA_TAG, Provenance
from storage.records import ModelVersion
from storage.redaction import cause_of
from storage.registry.client import Registry, folder_digest

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from sklearn.tree._tree import Tree

    from search.model.served import RowReader

TRUSTED_TYPES = (
    "datetime.timedelta",
    "datetime.timezone",
    "numpy.dtype",
    "pandas.DatetimeTZDtype",
    "sklearn.tree._tree.Tree",
    "skrub._apply_to_cols.ApplyToCols",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._apply_to_sub_frame.ApplyToSubFrame",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_numeric",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._select_cols.SelectCols",
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
# Parts of scikit-learn that a model may contain. skops itself trusts all of scikit-learn.
_ESTIMATORS = frozenset(
    {
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.decomposition._truncated_svd.TruncatedSVD",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.feature_extraction.text.TfidfTransformer",
        "sklearn.feature_extraction.text.TfidfVectorizer",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._encoders.OneHotEncoder",
        "sklearn.preprocessing._encoders.OrdinalEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        "sklearn.preprocessing._target_encoder.TargetEncoder",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.tree._tree.Tree",
    }
)
_REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "skrub", "numpy", "pandas")
_EXAMPLE_ROWS = 3
# Name of the file that MLflow's scikit-learn flavor writes.
_FILE = "model.skops"
# Name of the folder of a model that MLflow imports the loader from.
_CODE = "code"
# Python would write this folder when it imports the loader, which would change the model's files.
_CACHE, _NO_CACHE = "__pycache__", "This file keeps Python from writing a cache here.\n"
# The fastest level: higher ones take longer to write and save little more.
_COMPRESSION_LEVEL = 1
# scikit-learn's index of a child that does not exist.
_LEAF = -1


@dataclass(frozen=True)
class LoadedModel:
    """A version, its pipeline, its record, and what its rows need to be read."""

    version: ModelVersion
    pipeline: Any
    provenance: Provenance
    taught: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reader(self) -> "RowReader":
        """Reads rows of other tables as the training table was read."""
        from search.model.served import RowReader

        return RowReader(self.pipeline, self.taught)


def load_model(registry: Registry, version: ModelVersion) -> LoadedModel:
    """Load a registered version, after checking that its files are those that were registered.

    Raises
    ------
    StudyError
        If the files were changed, if they hold a type that is not in `TRUSTED_TYPES` or an
        invalid tree, or if the version was not registered by this project.
    """
    import skops.io
    from mlflow.models import Model
    from skops.io.exceptions import UntrustedTypesFoundException

    from search.model.served import read_taught

    model = version.title
    registered = version.tags.get(SHA_TAG)
    if registered is None:
        raise StudyError(
            f"{model} has no tag {SHA_TAG}: it was not registered by grovekeeper, and is not loaded"
        )
    with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
        folder = registry.download(version, Path(temporary))
        found = folder_digest(folder)
        if found != registered:
            raise StudyError(
                f"the files of {model} were changed since they were registered: their SHA-256 is "
                f"{found}, registered is {registered}. They are not loaded"
            )
        provenance = Provenance.read(Model.load(str(folder)).metadata, model)
        try:
            parts = _parts_of(folder / _FILE)
            _check_estimators(parts)
            pipeline = skops.io.load(folder / _FILE, trusted=list(TRUSTED_TYPES))
            _check(pipeline, sum(part.get("__loader__") == "TreeNode" for part in parts))
            known = read_taught(folder)
        except UntrustedTypesFoundException as error:
            raise StudyError(f"{model} is not loaded: {cause_of(error)}") from error
        except Exception as error:  # a forged file can raise any exception
            reason = cause_of(error)
            raise StudyError(f"{model} is not loaded because it is damaged: {reason}") from error
    return LoadedModel(version, pipeline, provenance, known)


def _parts_of(file: Path) -> list[dict[str, Any]]:
    """Return all objects that a skops file describes, without loading any."""
    parts: list[dict[str, Any]] = []

    def note(part: dict[str, Any]) -> dict[str, Any]:
        parts.append(part)
        return part

    with ZipFile(file) as archive:
        json.loads(archive.read("schema.json"), object_hook=note)
    return parts


def _check_estimators(parts: list[dict[str, Any]]) -> None:
    """Raise `ValueError` if a file contains a part of scikit-learn that no champion has."""
    names = {f"{part.get('__module__')}.{part.get('__class__')}" for part in parts}
    others = {name for name in names if name.startswith("sklearn.")} - _ESTIMATORS
    if others:
        raise ValueError(f"it contains {min(others)}")


def _check(pipeline: Any, n_trees: int) -> None:
    """Raise `ValueError` if a pipeline is not an encoder of rows and a forest of valid trees.

    A selection of columns may precede the other encoders. It is all that a table of numbers has.

    Parameters
    ----------
    n_trees
        Number of trees in the file.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.pipeline import Pipeline
    from sklearn.tree import (
        DecisionTreeClassifier,
        DecisionTreeRegressor,
        ExtraTreeClassifier,
        ExtraTreeRegressor,
    )
    from sklearn.tree._tree import Tree
    from skrub import ApplyToCols, SelectCols, TableVectorizer

    trees = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
    forests = (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    if type(pipeline) is not Pipeline:
        raise ValueError(f"it is not a pipeline but {type(pipeline).__name__}")
    steps = [step for _, step in pipeline.steps]
    kinds = [type(step) for step in steps]
    tables = [
        [kind, *more]
        for kind in (TableVectorizer, ApplyToCols)
        for more in ([], [ColumnTransformer])
    ]
    known = [[SelectCols], *tables, *([SelectCols, *kinds] for kinds in tables)]
    if kinds[:-1] not in known or kinds[-1] not in forests:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"its steps are {names}, not encoders of rows and a forest")
    forest = steps[-1]
    if len({id(grown.tree_) for grown in forest.estimators_}) != n_trees:
        raise ValueError("there are trees outside its forest, or the forest has a tree twice")
    columns = forest.n_features_in_
    for number, grown in enumerate(forest.estimators_):
        kind, tree = type(grown), grown.tree_
        if type(tree) is not Tree or kind not in trees or grown.n_features_in_ != columns:
            raise ValueError(
                f"tree {number} of its forest has other columns or another type ({kind.__name__})"
            )
        if not _is_sound(tree, columns):
            raise ValueError(f"tree {number} of its forest has nodes outside its arrays")


def _is_sound(tree: "Tree", n_features: int) -> bool:
    """Whether all nodes lead to later nodes, end in leaves, and split on existing columns."""
    # Checked first, because the arrays are as long as the claimed number of nodes.
    if not 0 < tree.node_count == tree.capacity or tree.n_features != n_features:
        return False
    places, left, right = np.arange(tree.node_count), tree.children_left, tree.children_right
    inner = left != _LEAF
    return bool(
        np.all((places < left) & (left < tree.node_count), where=inner)
        and np.all((places < right) & (right < tree.node_count), where=inner)
        and np.all((tree.feature >= 0) & (tree.feature < n_features), where=inner)
        and np.all(right == _LEAF, where=~inner)
    )


def check_encoder(dataset: Dataset) -> None:
    """Raise `DataError` if a champion could not be saved because of a column of the table.

    The fitted encoder of one column of each type is serialized, except for types that can always be
    saved, because skops takes a second to import.
    """
    table = dataset.features
    firsts = {str(kind): name for name, kind in table.dtypes[::-1].items() if not _is_plain(kind)}
    if not firsts:
        return
    import skops.io

    for name in firsts.values():
        try:
            content = skops.io.dumps(dataset.vectorized.vectorizer.all_processing_steps_[name])
            found = skops.io.get_untrusted_types(data=content)
            reason = ", ".join(sorted({*found}.difference(TRUSTED_TYPES)))
        except Exception as error:  # skops raises errors of many types
            reason = cause_of(error)
        if reason:
            raise DataError(
                f"column '{name}' of type {table[name].dtype} cannot be saved with a model "
                f"({reason}): convert it, or leave it out (--drop {quote(name)})"
            )


def _is_plain(dtype: Any) -> bool:
    """Whether a type is one of NumPy, without time zones, or a type of texts."""
    import pandas as pd

    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufM"
    return isinstance(dtype, pd.StringDtype | pd.CategoricalDtype)


def save_model(pipeline: Any, dataset: Dataset, folder: Path, model: "Model") -> None:
    """Write the pipeline as an MLflow model folder.

    Parameters
    ----------
    model
        Run, model id and metadata for the folder's ``MLmodel`` file.

    Raises
    ------
    StudyError
        If the pipeline holds a type that is not in `TRUSTED_TYPES`; the message names it.
    """
    import mlflow.sklearn
    import skops.io
    from mlflow.models.model import MLMODEL_FILE_NAME
    from mlflow.utils.file_utils import get_total_file_size
    from sklearn.base import clone

    mlflow.sklearn.save_model(
        clone(pipeline),  # its file is replaced
        str(folder),
        mlflow_model=model,
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED_TYPES),
        signature=signature(dataset),
        input_example=_example(dataset),
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
    )
    _write(pipeline, folder / _FILE)
    unknown = {*skops.io.get_untrusted_types(file=folder / _FILE)}.difference(TRUSTED_TYPES)
    if unknown:
        raise StudyError(f"the champion cannot be saved: it holds {', '.join(sorted(unknown))}")
    _add_loader(folder, model, dataset)
    model.model_size_bytes = get_total_file_size(folder)
    model.save(str(folder / MLMODEL_FILE_NAME))


def _add_loader(folder: Path, model: "Model", dataset: Dataset) -> None:
    """Let MLflow's pyfunc flavor read rows as the training table was read."""
    from mlflow import pyfunc

    from search.model import served

    source = Path(served.__file__).read_bytes()
    # Several models may be loaded into one process, each with the loader that was saved with it.
    module = f"grovekeeper_served_{hashlib.sha256(source).hexdigest()[:12]}"
    code = folder / _CODE
    code.mkdir()
    (code / f"{module}.py").write_bytes(source)
    (code / _CACHE).write_text(_NO_CACHE)
    (folder / served.TAUGHT_FILE).write_text(json.dumps(taught(dataset)))
    model.flavors[pyfunc.FLAVOR_NAME] |= {pyfunc.MAIN: module, pyfunc.CODE: _CODE}


def taught(dataset: Dataset) -> dict[str, Any]:
    """Return what `RowReader` needs to know of the training table."""
    from pandas.api.types import infer_dtype

    known: dict[str, Any] = {"missing": list(dataset.description.na)}
    if dataset.is_numeric:
        return known
    table, features = dataset.vectorized, dataset.features
    dates = {}
    for name in table.vectorizer.kind_to_columns_["datetime"]:
        seconds = table.rows[table.sources[name][-1]]
        dates[name] = [float(seconds.min()), float(seconds.max())]
    return known | {
        "booleans": [n for n in features if infer_dtype(features[n], skipna=True) == "boolean"],
        "dates": dates,
        "rewritten": {name: list(map(list, rules)) for name, rules in dataset.rewritten.items()},
    }


def _write(pipeline: Any, file: Path) -> None:
    """Write a pipeline as `skops.io.dump` does, but compressed, and each of its parts only once.

    skops writes a part again wherever it is referred to. In a `TableVectorizer` of many columns,
    that is ten times as much, and takes most of the time of a registration.
    """
    import skops
    from skops.io._utils import SaveContext, get_state

    with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL) as archive:
        context = SaveContext(archive)
        schema = _without_repetitions(get_state(pipeline, context), set())
        schema |= {"protocol": context.protocol, "_skops_version": skops.__version__}
        archive.writestr("schema.json", json.dumps(schema))


def _without_repetitions(part: Any, known: set[int]) -> Any:
    """Return a part of a schema, in which objects that are known are only referred to by their id.

    skops reads the content of objects in the order in which it is written, so an object is known to
    it before the first reference.
    """
    if isinstance(part, list | tuple):
        return [_without_repetitions(value, known) for value in part]
    if not isinstance(part, dict):
        return part
    number = part.get("__id__")
    if part.get("__loader__") == "ObjectNode" and isinstance(number, int):
        if number in known:
            return {"__id__": number}
        known.add(number)
    return {name: _without_repetitions(value, known) for name, value in part.items()}


def _example(dataset: Dataset) -> "pd.DataFrame":
    """Return the first rows as JSON represents them: null if missing, dates and objects as text."""
    import pandas as pd

    rows = dataset.features.head(_EXAMPLE_ROWS)
    text = rows.to_json(orient="split", index=False, date_format="iso", default_handler=str)
    plain = json.loads(text)
    return pd.DataFrame(plain["data"], columns=rows.columns, dtype=object)


def signature(dataset: Dataset) -> "ModelSignature":
    """Return a signature that names the columns and allows any type in each.

    Dropped columns are optional: the model takes rows of the original table, with and without them.
    A type inferred from the training rows, such as ``long``, would refuse missing values, which
    the pipeline accepts.
    """
    from mlflow.models import ModelSignature
    from mlflow.models.signature import infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    # Predictions have the type of the target.
    outputs = infer_signature(model_output=dataset.labels[:_EXAMPLE_ROWS]).outputs
    needed = [ColSpec(AnyType(), str(name)) for name in dataset.features.columns]
    ignored = [ColSpec(AnyType(), name, required=False) for name in dataset.description.drop]
    inputs = Schema([*needed, *ignored])
    return ModelSignature(inputs=inputs, outputs=outputs)
