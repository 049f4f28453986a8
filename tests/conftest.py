"""Shared fixtures: a tiny random encoder, built offline in seconds and equal in every run, and its export."""

import gc
import os
import shutil
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from checkout import OF_ATTUNES_OWN, is_attunes_own
from filelock import FileLock
from hypothesis import HealthCheck, settings
from shipped_params import PANEL, make_shipped

# forbids network access; set before any import of a Hugging Face library
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# two processes of two threads share two cores: threads that spin while waiting would slow all several times
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS's threads spin: beside another process, numpy's decompositions take ten times as long with two of them
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # else a test's own make would print more below `make test`
    os.environ.pop(variable, None)

# property tests judge results, not the speed of a machine that does other work, too
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

collect_ignore = [] if is_attunes_own() else list(OF_ATTUNES_OWN)

# Test files that take longest. pytest-xdist gives whole files to its processes, in this order. Those that read the
# finished miniature come late, as they wait for it.
LONGEST = (
    *("test_miniature", "test_walkthrough", "test_families", "test_processes", "test_resume", "test_own_encoders"),
    *("test_losses", "test_layouts", "test_upgrade", "test_new", "test_pull_requests"),
    *("test_full_disk", "test_regret", "test_torchrun"),
)

TINY_DIMENSION = 32
TINY_MAX_LENGTH = 32

TRAIN_TEXTS = (
    "stack arrays vertically",
    "the shortest path between two nodes of a graph",
    "sort the rows of a matrix and return the largest element",
    "in summer we swim in the sea and look at the stars at night",
)
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = """
a about above across add after again air all along also always an and animal another answer any are area around array
as ascending ask at average axis back be bear because bed before begin below best between big bird black blue boat
body book both box boy bread bring broadcast brown build but buy by calculate call can car cat change character check
child city class clean close cold color column come compare compute connected convert copy corner correlation count
country create cross cut data date day decompose default delete density derivative descending determinant dictionary
difference dimension distance distribution divide do document dog door down drive drop each earth east eat edge
eigenvalue element empty encode end equal error estimate even every example eye face fall far farm fast father file
fill filter find fire first fish fit flat float floor flower fly follow food for form fourier frame friend from front
fruit function game garden generate get girl give go good graph great green group grow hand happy hard have he head
hear heat help her here high hill his histogram home hot house how ice if image in index inner input integer integral
interpolate into inverse is island it iterate join jump key king know label lake land large last leaf learn least left
length letter light like line linear list live load long look low make man many map mask matrix maximum mean measure
median merge metric milk minimum missing mode model money moon more morning most mother mountain move music name near
nearest negative neighbor new next night node noise norm north not number object of off old on one only open or orange
order outer over page paint paper parent parse part path people person picture place plant play point polynomial
positive predict probability product query quick quiet rain random rank read red regression remove repeat replace
reshape return reverse right river road rock roll root rotate row run same sample save say school score sea search
second see select series set shape she sheep ship short shortest show side signal sine sing size sky sleep slice slow
small smooth snow solve some sort sound south space sparse speed split square stack standard star stone stop story
street string strong sum summer sun swim symmetric system table take talk tall teach tell tensor test text that the
their then there they thing this time to together top town train transform transpose tree triangle true turn two type
under union unique up use value variance vector vertical vertically wait walk wall warm water weight west what when
where which white who wide wind window winter with without woman wood word work world write year yellow you young zero
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, so that no process is left running one alone at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def _vocabulary() -> dict[str, int]:
    # single characters and their continuations spell every ASCII word; other characters become [UNK]
    characters = string.ascii_lowercase + string.digits
    pieces = [*characters, *(f"##{c}" for c in characters), *string.punctuation]
    tokens = dict.fromkeys(
        [*SPECIAL_TOKENS, *pieces, "##s", "##ed", "##ing", "##ly", "##er", "##tion", *VOCABULARY.split()]
    )
    return {token: index for index, token in enumerate(tokens)}


def build_tiny_encoder(folder: Path, pooling: str = "mean", seed: int = 0) -> Path:
    """Saves a 2-layer BERT with random weights as a sentence-transformers folder: dim 32, max length 32, normalised."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = _vocabulary()
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=TINY_DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,  # ten times BERT's 0.02, at which all random embeddings are nearly equal
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(shape).eval().save_pretrained(folder / "bert")
    BertTokenizer(vocab=vocabulary, model_max_length=TINY_MAX_LENGTH).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=TINY_MAX_LENGTH)
    modules = [transformer, Pooling(TINY_DIMENSION, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def build_tiny_reranker(folder: Path, n_outputs: int = 1) -> Path:
    """Saves a cross-encoder with random weights and this number of outputs as a folder of transformers."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    with TemporaryDirectory() as scratch:
        bert = build_tiny_encoder(Path(scratch)).parent / "bert"
        shutil.copytree(bert, folder)
        shape = BertConfig.from_pretrained(bert, num_labels=n_outputs, initializer_range=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        BertForSequenceClassification(shape).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def settled_heap() -> Iterator[None]:
    """Excludes existing objects from garbage collection, which some libraries run at every call of theirs."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def yaml_is_parsed_once() -> Iterator[None]:
    """Keeps what DVC has parsed: it parses parameter files for each stage that reads them, dozens of times per test."""
    from dvc.utils.serialize import _yaml
    from quick_dvc import ParsedOnce

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_yaml, "parse_yaml", ParsedOnce(_yaml.parse_yaml))
        yield


@pytest.fixture(scope="session")
def torchlib_is_read_once() -> Iterator[None]:
    """Keeps the export's table of operators, which torch builds anew for each graph: a fifth of the time of one."""
    import quick_libraries

    with pytest.MonkeyPatch.context() as patch:
        quick_libraries.read_torchlib_once(patch.setattr)
        yield


@pytest.fixture(scope="session", autouse=True)
def graphs_are_made_once(shared_folder: Path) -> Iterator[None]:
    """Exports each encoder once, in all processes of the suite, where a test has imported attune's export."""
    import quick_libraries

    with pytest.MonkeyPatch.context() as patch:
        if "attune.export.shipped" in sys.modules:
            quick_libraries.export_once(shared_folder / "graphs", patch.setattr)
        yield


def export_tiny(model: Path, out: Path, tables: dict[str, Path], **changes: object) -> Path:
    """Runs stage export with the project's parameters and changes; returns the exported folder."""
    from attune.stage import call, load_params
    from attune.stages.export import ExportParams, export

    params = load_params(ExportParams, "export", PANEL)
    call(export, params.model_copy(update=changes), out.with_name("export.json"), model=model, out=out, **tables)
    return out


def saturates_int8() -> bool:
    """Tells if this CPU lacks VNNI and AMX, so that 8-bit products saturate (see export.int8_reduce_range)."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return not any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


@pytest.fixture(scope="session")
def tiny_encoder(shared_folder: Path) -> Path:
    """Returns the folder of the tiny random encoder (read-only: shared by all tests)."""
    return made_once(shared_folder / "tiny_encoder", build_tiny_encoder) / "model"


def write_train_tables(folder: Path) -> dict[str, Path]:
    """Writes four train queries and their documents as inputs of stage export; returns their paths."""
    import polars as pl

    from attune.tables import CORPUS, TRIPLETS, write

    rows = [(f"q{i}", f"d{i}", text) for i, text in enumerate(TRAIN_TEXTS)]
    triplets = pl.DataFrame([(q, text, q, d, 1, []) for q, d, text in rows], schema=dict(TRIPLETS), orient="row")
    corpus = pl.DataFrame([(d, "title", text * 3, d, d) for _, d, text in rows], schema=dict(CORPUS), orient="row")
    paths = {"triplets": folder / "triplets.parquet", "corpus": folder / "corpus.parquet"}
    write(triplets, paths["triplets"], TRIPLETS)
    write(corpus, paths["corpus"], CORPUS)
    return paths


@pytest.fixture(scope="session")
def train_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the tables for the calibration of the int8 graph (read-only)."""
    return write_train_tables(tmp_path_factory.mktemp("train_tables"))


@pytest.fixture(scope="session")
def tiny_onnx(
    tiny_encoder: Path, train_tables: dict[str, Path], shared_folder: Path, torchlib_is_read_once: None
) -> Path:
    """Returns the tiny encoder exported by stage export (read-only)."""

    def export(folder: Path) -> None:
        export_tiny(tiny_encoder, folder / "onnx", train_tables)

    return made_once(shared_folder / "tiny_onnx", export) / "onnx"


@pytest.fixture(scope="session")
def other_onnx(train_tables: dict[str, Path], shared_folder: Path, torchlib_is_read_once: None) -> Path:
    """Returns another tiny encoder, of other random weights, exported by stage export (read-only)."""

    def export(folder: Path) -> None:
        export_tiny(build_tiny_encoder(folder / "torch", seed=1), folder / "onnx", train_tables)

    return made_once(shared_folder / "other_onnx", export) / "onnx"


@pytest.fixture
def onnx_copy(tiny_onnx: Path, tmp_path: Path) -> Path:
    """Returns a copy of the exported tiny encoder, which the test may damage."""
    return Path(shutil.copytree(tiny_onnx, tmp_path / "onnx"))


@pytest.fixture(scope="session")
def warm_stages(shared_folder: Path) -> Iterator[Path]:
    """Runs DVC and the stages of pipelines in forks of a process that has imported the libraries (warm_python).

    Returns the program `python` whose `-m MODULE` does the same.
    """
    import miniature
    import warm_python

    with warm_python.warm(shared_folder / "warm") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(miniature.PYTHON_FOLDER, str(folder))
        patch.setenv(warm_python.GRAPHS, str(shared_folder / "graphs"))
        yield folder / "python"


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Returns the folder of what one process of the suite makes for all of them."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Makes a folder, unless another process of the suite has made it; waits while one does."""
    done = folder.with_name(f"{folder.name}.done")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def wheel(shared_folder: Path) -> Path:
    """Returns attune's wheel, built from this checkout (read-only)."""
    from own_repository import build_wheel

    return next(made_once(shared_folder / "wheel", build_wheel).glob("attune-*.whl"))


@pytest.fixture(scope="session")
def quick(shared_folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the changed parameters of test pipelines: the default encoder's first layer alone, one thread, fp32."""
    import miniature
    import short_encoder

    folder = made_once(shared_folder / "short_encoder", short_encoder.write_first_layers)
    return miniature.ONE_THREAD | short_encoder.parameters(folder)


@pytest.fixture(scope="session")
def finished(shared_folder: Path, quick: dict[str, dict[str, Any]], warm_stages: Path) -> Path:
    """Runs the miniature pipeline (a minute) and returns its folder, read-only and shared by all processes."""
    import miniature

    def run(folder: Path) -> None:
        make_shipped(folder, quick)
        miniature.dvc(folder, "repro")

    return made_once(shared_folder / "miniature", run)
