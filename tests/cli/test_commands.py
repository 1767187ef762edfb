"""test_commands.py - options, settings and messages of the commands, as a person types them."""
import pathlib

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def test_help_lists_every_command(slipway):
    said = slipway("help")
    assert said.returncode == 0
    for command in ("serve", "config show", "config check", "version", "help"):
        assert f"slipway {command}" in said.stdout


def test_no_command_is_a_usage_error(slipway):
    said = slipway()
    assert said.returncode == 2 and "usage:" in said.stderr and said.stdout == ""


@pytest.mark.parametrize("words", [["frobnicate"], ["config"], ["serve", "--sett", "a=b"], ["serve", "--config"],
                                   ["config", "show", "extra"],
                                   ["serve", "--check=yes"], ["serve", "-t", "--check"],
                                   ["config", "show", "--origin", "--defaults"], ["config", "check", "--origin"]])
def test_what_is_not_understood_is_a_usage_error(slipway, words):
    assert slipway(*words).returncode == 2


def test_help_of_a_command_comes_from_its_table(slipway):
    for words in (["help", "config", "show"], ["config", "show", "--help"], ["config", "show", "-h", "--nonsense"]):
        said = slipway(*words)
        assert said.returncode == 0 and said.stderr == ""
        assert said.stdout.startswith("usage: slipway config show [OPTION]...\n")
        for option in ("--origin", "--defaults", "--config FILE", "--set KEY=VALUE"):
            assert f"  {option} " in said.stdout


def test_help_of_a_noun_lists_its_commands_only(slipway):
    said = slipway("help", "config")
    assert said.returncode == 0 and "config show" in said.stdout and "slipway serve" not in said.stdout
    assert slipway("config").returncode == 2
    assert slipway("help", "nonsense").returncode == 2
    for words in (["help", "build", "config"], ["build", "config", "--help"], ["build", "config", "-h"]):
        said = slipway(*words)
        assert said.returncode == 0 and "slipway build config set" in said.stdout and "build run" not in said.stdout, words
    wrong = slipway("build", "config", "shwo")
    assert wrong.returncode == 2 and wrong.stderr.endswith("build config shwo\nsee: slipway help build config\n")
    assert slipway("--help").stdout == slipway("help").stdout


@pytest.mark.parametrize("words, named, help_on", [
    (["frobnicate"], "frobnicate", "help\n"), (["config", "shwo"], "config shwo", "help config\n"),
    (["--json", "user", "ls"], "--json", "help\n")])
def test_a_command_that_is_not_there_is_named(slipway, words, named, help_on):
    said = slipway(*words)
    assert said.stderr == f"slipway: there is no command {named}\nsee: slipway {help_on}" and said.stdout == ""
    assert slipway(words[0], "--help").returncode == (0 if words[0] == "config" else 2)


@pytest.mark.parametrize("verb, thing, word", [
    *((["build", verb], "build", "abc") for verb in ("show", "logs", "cancel", "retry", "verify")),
    (["build", "rebase", "--undo"], "rebase", "1a"), (["grant", "rm"], "grant", "ana"),
    *((["job", verb], "job", "") for verb in ("show", "cancel", "wait"))])
def test_what_is_no_number_is_said_before_anybody_is_asked(slipway, verb, thing, word):
    said = slipway(*verb, word)
    assert said.returncode == 2 and said.stdout == ""
    assert said.stderr.startswith(f"slipway {' '.join(verb[:2])}: {word} is not the number of a {thing}\n"), said.stderr


def test_what_stands_behind_an_equals_sign_is_not_repeated(slipway):
    said = slipway("serve", "--pasword=hunter2")
    assert said.returncode == 2 and "--pasword" in said.stderr and "hunter2" not in said.stderr


def test_version(slipway):
    said = slipway("version")
    assert said.returncode == 0 and said.stdout.startswith("slipway ")
    assert slipway("--version").stdout == said.stdout


def test_the_unit_hides_no_setting_and_may_take_port_443():
    unit = (TOP / "conf/slipway.service").read_text()
    assert "SLIPWAY_" not in unit  # commands typed on that machine would not know
    assert "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit


@pytest.mark.parametrize("unit", ["slipway.service", "slipway-builder.service"])
def test_no_unit_leaves_cores_of_secrets(unit):
    assert "\nLimitCORE=0\n" in (TOP / "conf" / unit).read_text()


def test_config_show_defaults_is_the_file_in_conf(slipway):
    said = slipway("config", "show", "--defaults", SLIPWAY_LOG_LEVEL="error")
    assert said.stdout == (TOP / "conf/slipway.yml").read_text()


def test_the_file_in_conf_is_accepted(slipway):
    said = slipway("serve", "-t", "--config", str(TOP / "conf/slipway.yml"))
    assert (said.returncode, said.stderr) == (0, "")


def test_config_show_tells_origins(slipway, tmp_path):
    file = tmp_path / "c.yml"
    file.write_text("gc:\n  grace: 48h\n")
    said = slipway("config", "show", "--origin", "--config", str(file), "--set=log.level=debug",
                   SLIPWAY_DELETE_TAGS="false")
    assert said.returncode == 0
    assert f"  grace: 48h # {file}:2\n" in said.stdout
    assert '  level: "debug" # --set\n' in said.stdout
    assert "  tags: false # SLIPWAY_DELETE_TAGS\n" in said.stdout
    assert "  undo: 24h # default\n" in said.stdout


@pytest.mark.parametrize("words", [["serve", "-t"], ["serve", "--check"], ["config", "check"], ["serve"]])
def test_every_mistake_is_listed(slipway, tmp_path, words):
    file = tmp_path / "c.yml"
    file.write_text("storage:\n  rot: /x\nlog: {level: loud}\n")
    said = slipway(*words, "--config", str(file))
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        f"{file}:2:3: storage.rot: unknown key, did you mean storage.root?",
        f'{file}:3:14: log.level: expected debug|info|warning|error, found "loud"']


def test_open_to_others_only_when_told(slipway):
    words = ["serve", "-t", "--config", "/dev/null", "--set", "server.listen=0.0.0.0:0"]
    opened = [*words, "--set", "auth.mode=none"]
    said = slipway(*opened)
    assert said.returncode == 1 and "auth.insecure_open" in said.stderr
    assert slipway(*opened, "--set", "auth.insecure_open=true").returncode == 0
    said = slipway(*words)
    assert said.returncode == 1 and "plain HTTP" in said.stderr and "server.insecure_http" in said.stderr
    assert slipway(*words, "--set", "server.insecure_http=true").returncode == 0


def test_unknown_variable_warns(slipway):
    said = slipway("config", "check", "--config", "/dev/null", SLIPWAY_STORAGE_ROT="/x", SLIPWAY_PORT="tcp://1.2.3.4:5")
    assert said.returncode == 0
    assert said.stderr == "SLIPWAY_STORAGE_ROT: no such setting, did you mean SLIPWAY_STORAGE_ROOT?\n"
