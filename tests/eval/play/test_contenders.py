"""Who answers: how contenders are written down, which are refused, which share a session."""

from fractions import Fraction

import pytest
from tiny_benchmark import terse_model

from eval.play.contender import Contender, parse_contenders
from eval.play.play_all import require_fit
from eval.play.settings import PlaySettings
from memory.policies import POLICIES
from vstream import SettingsError, load_config, load_video_llm

SETTINGS = PlaySettings(load_config())


def parsed(*texts, **options):
    return parse_contenders([f"policy={text}" for text in texts], **options)


def test_a_contender_is_a_policy_a_codec_a_budget_and_settings():
    [one] = parsed("default,codec=int4,budget=1/20,drop_similarity=0.95")
    assert one == Contender("default", {"drop_similarity": "0.95"}, "int4", Fraction(1, 20))
    assert one.name == "default+int4+1of20+drop_similarity=0.95"
    config = SETTINGS.configured(one, 40 << 20)
    assert (config.policy, config.memory.codec) == ("default", "int4")
    assert config.memory.host_bytes == 40 << 20
    names = [one.name for one in parsed("default", "window,frames=8", "frames,codec=bf16")]
    assert names == ["default", "window+frames=8", "frames+bf16"]
    plain, planned = parsed("default", "default,plan=on")
    assert planned == Contender("default", plan=True)
    assert (plain.name, planned.name) == ("default", "default+plan")
    own = SETTINGS.policy(plain, terse_model())
    assert plain.shares(own) == planned.shares(own)


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "who.yaml"
    path.write_text(
        "- {policy: default, codec: int4, budget: 1/20, drop_similarity: 0.95}\n- policy: window\n"
    )
    [first, second] = parse_contenders([str(path)])
    [told] = parsed("default,codec=int4,budget=1/20,drop_similarity=0.95")
    assert (first.name, second) == (told.name, Contender("window"))
    assert SETTINGS.policy(first, terse_model()).settings.drop_similarity == 0.95


@pytest.mark.parametrize("text", ["{a: b}", "- window", "[", None])
def test_a_file_that_is_no_list_of_contenders_is_refused_by_name(tmp_path, text):
    path = tmp_path / "who.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"who\.yaml"):
        parse_contenders([str(path)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default", "write policy=NAME"),
        ("policy=", "write policy=NAME"),
        ("codec=int4", "policy None is none of"),
        ("policy=best", "'best' is none of .*default.*frames"),
        ("policy=default,codec=fp5", "fp5"),
        ("policy=default,budget=2", "wanted a share"),
        ("policy=default,budget=1/0", "wanted a share"),
        ("policy=default,colour=red", "colour"),
        ("policy=window,frames=0", "frames"),
        ("policy=full,budget=1/2", "no budget"),
        ("policy=frames,budget=1/2", "no budget"),
        ("policy=language,frames=3", "no settings"),
        ("policy=frames,plan=on", "no settings"),
        ("policy=default,plan=maybe", "on or off"),
        ("policy=oracle", "'oracle' is none of"),
    ],
)
def test_what_cannot_be_a_contender_is_refused_with_its_reason(text, said):
    with pytest.raises(SettingsError, match=f"contender: .*{said}"):
        parse_contenders([text])


def test_a_contender_named_twice_is_refused():
    with pytest.raises(SettingsError, match="twice"):
        parsed("window", "default", "window")


def test_a_budget_too_small_to_be_kept_is_refused():
    with pytest.raises(SettingsError, match="less than the least"):
        SETTINGS.configured(Contender("default"), 1 << 20)


def test_all_are_the_policies_that_are_found_and_the_baselines():
    names = [one.policy for one in parsed("all", knows_evidence=True)]
    assert names == [*POLICIES.names(), "oracle", "frames"]
    bounded = [one.policy for one in parsed("all,budget=1/20", knows_evidence=True)]
    assert set(names) - set(bounded) == {"full", "frames"} | {
        name for name in POLICIES.names() if not POLICIES.find(name).card.takes_budget
    }


def test_those_that_read_the_same_blocks_share_them():
    model = terse_model()
    found = parsed(
        *("default", "oracle", "uniform", "default,retrieve_blocks=3"),
        *("default,codec=int4", "window", "full", "default,budget=1/2", "frames", "language"),
        knows_evidence=True,
    )
    shared = [one.shares(SETTINGS.policy(one, model)) for one in found]
    assert len(set(shared[:4])) == 1
    assert len(set(shared)) == 7


def test_full_is_refused_where_the_decoder_has_no_room():
    model = load_video_llm(None)
    require_fit(Contender("full"), SETTINGS, model, 3600)
    require_fit(Contender("default"), SETTINGS, model, 36_000)
    with pytest.raises(SettingsError, match="leave it out"):
        require_fit(Contender("full"), SETTINGS, model, 7200)
