"""A small OpenML: answers the real client's requests with real data, and fails on demand."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import escape

import arff
import numpy as np

ROOT = 'xmlns:oml="http://openml.org/openml"'
CLASSIFICATION, REGRESSION, LEARNING_CURVE, CLUSTERING = 1, 2, 3, 5


@dataclass
class Dataset:
    """A data set as the server has it; `md5` may be made wrong."""

    data_id: int
    name: str
    arff: bytes
    attributes: list[tuple[str, object]]
    n_rows: int
    ignore: str = ""
    md5: str = ""
    format: str = "ARFF"

    @classmethod
    def make(cls, data_id: int, name: str, text: bytes, ignore: str = "") -> Dataset:
        parsed = arff.loads(text.decode("utf-8"))
        md5 = hashlib.md5(text).hexdigest()
        return cls(data_id, name, text, parsed["attributes"], len(parsed["data"]), ignore, md5)


def shipped_dataset(data_id: int) -> Dataset:
    """Read one of the complete OpenML data sets in scikit-learn's wheel."""
    folder = resources.files("sklearn.datasets.tests.data.openml") / f"id_{data_id}"
    (data,) = (file for file in folder.iterdir() if file.name.endswith(".arff.gz"))
    about = gzip.decompress((folder / f"api-v1-jd-{data_id}.json.gz").read_bytes())
    said = json.loads(about)["data_set_description"]
    ignored = said.get("ignore_attribute", "")
    return Dataset.make(data_id, said["name"], gzip.decompress(data.read_bytes()), ignored)


def local_dataset(folder: Path, data_id: int) -> Dataset:
    """Read one of the data sets of METAEST_DATA."""
    entries = json.loads((folder / "openml" / "index.json").read_text())
    (said,) = (entry for entry in entries if entry["data_id"] == data_id)
    text = gzip.decompress((folder / "openml" / f"{data_id}.arff.gz").read_bytes())
    return Dataset.make(data_id, said["name"], text)


@dataclass
class Task:
    task_id: int
    data_id: int
    target: str
    kind: int = CLASSIFICATION
    folds: int = 10
    procedure: str = "crossvalidation"
    splits: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    split_file: str = ""

    @classmethod
    def make(cls, task_id: int, data: Dataset, target: str, **more: object) -> Task:
        task = cls(task_id, data.data_id, target, **more)  # type: ignore[arg-type]
        order = np.random.default_rng(task_id).permutation(data.n_rows)
        tests = [np.sort(part) for part in np.array_split(order, task.folds)]
        task.splits = [(np.setdiff1d(order, test), test) for test in tests]
        lines = ["@RELATION splits", "@ATTRIBUTE type {TRAIN,TEST}"]
        lines += [f"@ATTRIBUTE {name} INTEGER" for name in ("rowid", "repeat", "fold")]
        lines += ["@DATA"]
        for fold, parts in enumerate(task.splits):
            for label, rows in zip(("TRAIN", "TEST"), parts, strict=True):
                lines += [f"{label},{row},0,{fold}" for row in rows]
        task.split_file = "\n".join([*lines, ""])
        return task


@dataclass
class Run:
    run_id: int
    task_id: int
    data_id: int
    flow_id: int
    setup_id: int
    value: float | None


class Server(ThreadingHTTPServer):
    """Serves what is put into it; a `fault` befalls every request whose path holds `fault_at`.

    A fault is "hang", "half" (the connection breaks halfway) or (status, body).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data: dict[int, Dataset] = {}
        self.tasks: dict[int, Task] = {}
        self.suites: dict[str, list[int]] = {}
        self.runs: list[Run] = []
        self.setups: dict[int, dict[str, str]] = {}
        self.requests: list[str] = []
        self.fault: str | tuple[int, str] | None = None
        self.fault_at = ""
        self.released = threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/api/v1/xml"

    def add(self, task_id: int, data: Dataset, target: str, **more: object) -> Task:
        self.data[data.data_id] = data
        self.tasks[task_id] = Task.make(task_id, data, target, **more)
        return self.tasks[task_id]

    # ------------------------------------------------------------------------------- answers

    def answer(self, path: str) -> str | bytes:
        kind, *rest = path.removeprefix("/api/v1/xml/").lstrip("/").split("/")
        if kind == "study":
            return self._study(rest[0])
        if kind == "task":
            return self._task(int(rest[0]))
        if kind == "data" and rest[0] == "features":
            return self._features(int(rest[1]))
        if kind == "data":
            return self._description(int(rest[0]))
        if kind == "user":
            return f"<oml:users {ROOT}>{_tags(user=_tags(id='1', username='me'))}</oml:users>"
        if kind == "files":
            return self.data[int(rest[0])].arff
        if kind == "splits":
            return self.tasks[int(rest[0])].split_file
        filters = dict(zip(rest[1::2], rest[2::2], strict=True))
        return self._evaluations(filters) if kind == "evaluation" else self._setups(filters)

    def _study(self, key: str) -> str:
        if key not in self.suites:
            raise NoResultError(601, "Unknown study")
        ids = "".join(_tags(task_id=str(i)) for i in self.suites[key])
        about = _tags(id="99", alias=key, main_entity_type="task", name=f"Suite {key}")
        about += _tags(description="d", status="active", creation_date="2019-02-21", creator="1")
        return f"<oml:study {ROOT}>{about}{_tags(tasks=ids)}</oml:study>"

    def _task(self, task_id: int) -> str:
        if task_id not in self.tasks:
            raise NoResultError(151, "Unknown task")
        task = self.tasks[task_id]
        names = {CLASSIFICATION: "Supervised Classification", REGRESSION: "Supervised Regression"}
        source = _tags(data_set_id=str(task.data_id), target_feature=task.target)
        procedure = _tags(id="1", type=task.procedure, name="10-fold Crossvalidation")
        procedure += _tags(data_splits_url=f"{self.root}/splits/{task_id}/splits.arff")
        procedure += '<oml:parameter name="number_repeats">1</oml:parameter>'
        procedure += f'<oml:parameter name="number_folds">{task.folds}</oml:parameter>'
        procedure += '<oml:parameter name="stratified_sampling">true</oml:parameter>'
        measure = _tags(evaluation_measures=_tags(evaluation_measure="predictive_accuracy"))
        inputs = {
            "source_data": _tags(data_set=source),
            "estimation_procedure": _tags(estimation_procedure=procedure),
            "evaluation_measures": measure,
        }
        body = "".join(f'<oml:input name="{k}">{v}</oml:input>' for k, v in inputs.items())
        about = _tags(task_id=str(task_id), task_type_id=str(task.kind))
        about += _tags(task_type=names.get(task.kind, "Clustering"))
        return f"<oml:task {ROOT}>{about}{body}</oml:task>"

    def _description(self, data_id: int) -> str:
        data = self.data[data_id]
        url = f"{self.root}/files/{data_id}/data.arff"
        body = _tags(id=str(data_id), name=data.name, version="1", description="d", url=url)
        body += _tags(format=data.format, md5_checksum=data.md5)
        body += _tags(parquet_url=f"{self.root}/nowhere/data.pq")  # not to be used
        body += _tags(ignore_attribute=data.ignore) if data.ignore else ""
        return f"<oml:data_set_description {ROOT}>{body}</oml:data_set_description>"

    def _features(self, data_id: int) -> str:
        body = ""
        for i, (name, kind) in enumerate(self.data[data_id].attributes):
            nominal = isinstance(kind, list)
            kinds = "nominal" if nominal else "string" if kind == "STRING" else "numeric"
            values = "".join(_tags(nominal_value=escape(v)) for v in kind) if nominal else ""
            feature = _tags(index=str(i), name=escape(name), data_type=kinds) + values
            body += _tags(feature=feature)
        return f"<oml:data_features {ROOT}>{body}</oml:data_features>"

    def _evaluations(self, filters: dict[str, str]) -> str:
        tasks, flows = (
            [int(i) for i in filters[key].split(",")] if key in filters else None
            for key in ("task", "flow")
        )
        offset, limit = int(filters["offset"]), int(filters["limit"])
        rows = [r for r in self.runs if r.task_id in (tasks or ()) and r.flow_id in (flows or ())]
        rows = rows[offset : offset + limit]
        if not rows:
            raise NoResultError(542, "No results")
        body = ""
        for r in rows:
            row = _tags(run_id=str(r.run_id), task_id=str(r.task_id), setup_id=str(r.setup_id))
            row += _tags(flow_id=str(r.flow_id), flow_name="flow", data_name="data")
            row += _tags(data_id=str(r.data_id), function=filters["function"], uploader="1")
            row += _tags(upload_time="2020-01-01 00:00:00")
            row += _tags(value=repr(r.value)) if r.value is not None else ""
            body += _tags(evaluation=row)
        return f"<oml:evaluations {ROOT}>{body}</oml:evaluations>"

    def _setups(self, filters: dict[str, str]) -> str:
        asked = [int(i) for i in filters["setup"].split(",")]
        body = ""
        for setup in asked:
            if setup not in self.setups:
                continue
            row = _tags(setup_id=str(setup), flow_id="7")
            for i, (name, value) in enumerate(self.setups[setup].items()):
                parameter = _tags(id=str(i), flow_id="7", flow_name="flow", data_type="t")
                parameter += _tags(full_name=f"flow(7)_{name}", parameter_name=name)
                row += _tags(parameter=parameter + _tags(default_value="", value=escape(value)))
            body += _tags(setup=row)
        if not body:
            raise NoResultError(674, "No results")
        return f"<oml:setups {ROOT}>{body}</oml:setups>"


class NoResultError(Exception):
    """What the server answers with 412 and a code."""


def error_page(code: int, message: str) -> str:
    return f"<oml:error {ROOT}>{_tags(code=str(code), message=message)}</oml:error>"


def _tags(**tags: str) -> str:
    return "".join(f"<oml:{name}>{value}</oml:{name}>" for name, value in tags.items())


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        fault = self.server.fault if self.server.fault_at in self.path else None
        if fault == "hang":
            self.server.released.wait(20)
            return
        if isinstance(fault, tuple):
            status, body = fault
        else:
            try:
                status, body = 200, self.server.answer(self.path)
            except NoResultError as error:
                status, body = 412, error_page(*error.args)
        content = gzip.compress(body if isinstance(body, bytes) else body.encode())
        self.send_response(status)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "half" else content)

    def log_message(self, *args: object) -> None:
        pass
