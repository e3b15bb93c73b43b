import json

import pytest

from tests.training.summary_test import summarize
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.training import finished
from tff_cnn.training.run_folder import RunFolder


def a_run(path, has_ended=True, **changes):
    folder = RunFolder(path)
    given = {**RunConfig().resolved().flat(), **changes}
    folder.write_config({"flags": given})
    if has_ended:
        folder.write_summary(summarize())
    return folder


def test_a_run_that_has_ended_is_found(tmp_path):
    a_run(tmp_path)
    folder = finished.folder_of(tmp_path)
    assert folder.path == tmp_path
    finished.check_has_names(folder, "no remedy")
    config = finished.config_of(folder)
    assert config == RunConfig().resolved()


def test_other_folders_are_refused(tmp_path):
    for path, part in (
        (None, "run_dir is missing"),
        ("", "run_dir is missing"),
        (tmp_path, "holds no config.json of a run"),
    ):
        with pytest.raises(UsageError, match=part):
            finished.folder_of(path)
    a_run(tmp_path, has_ended=False)
    with pytest.raises(UsageError, match="has not ended: the command"):
        finished.folder_of(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"rounds": 1}))
    with pytest.raises(UsageError, match="has no test_accuracy"):
        finished.folder_of(tmp_path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"dataset": None}, "config.json lacks dataset"),
        ({"num_clients": None}, "config.json lacks num_clients"),
        ({"seed": "x"}, "describes no run (seed='x' must be an integer"),
        ({"model": "none"}, "describes no run (unknown model 'none'"),
    ],
)
def test_a_config_that_describes_no_task(tmp_path, change, part):
    with pytest.raises(UsageError) as error:
        finished.config_of(a_run(tmp_path, **change))
    assert part in str(error.value)


def test_natural_clients_are_as_many_as_there_are(tmp_path):
    folder = a_run(
        tmp_path, dataset="emnist", partition="natural", num_clients=None
    )
    assert finished.config_of(folder).num_clients is None


def test_data_may_have_moved(tmp_path):
    folder = a_run(tmp_path / "run", dataset="mnist", model="mcmahan_cnn")
    config = finished.config_of(folder, str(tmp_path))
    assert config.dataset.data_dir == str(tmp_path)


def test_what_was_an_object_has_no_name(tmp_path):
    folder = a_run(tmp_path, model="keras")
    with pytest.raises(UsageError) as error:
        finished.check_has_names(folder, "this is the remedy")
    assert "the model of the run in" in str(error.value)
    assert "an object that no file holds: this is the remedy" in str(
        error.value
    )


def test_arrays_of_a_program_are_not_in_the_file(tmp_path):
    folder = a_run(tmp_path, dataset="arrays", model="lenet5")
    config = finished.config_of(folder)
    with pytest.raises(UsageError, match="give tff_cnn.evaluate the RunConfig"):
        finished.resolved(config, folder)
