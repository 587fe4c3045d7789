"""The commands about customers' keys (R-SALE-8)."""

from tests.cli.conftest import Shell
from tokentill.rules import keys


def test_a_key_is_made_listed_replaced_and_revoked(shell: Shell) -> None:
    shell.done("org", "open", "acme", "--plan", "pro")
    said = shell.done("api-key", "create", "acme", "server", "--feature", "generate_goal")
    key = keys.read(said.split()[0])
    assert key is not None
    [listed] = shell.json("api-key", "list", "acme")
    assert (listed["id"], listed["name"], listed["features"]) == (key.id, "server", ["generate_goal"])
    assert key.secret not in shell.done("api-key", "list", "acme")
    shell.done("api-key", "create", "acme", "trainee", "--spend-max", "50000")
    assert "0 of 50,000" in " ".join(shell.done("api-key", "list", "acme").split())
    trainee = next(one["id"] for one in shell.json("api-key", "list", "acme") if one["name"] == "trainee")
    assert "80,000 tokens in all" in shell.done("api-key", "limit", "acme", trainee, "--spend-max", "80000")
    assert "as many tokens as there are" in shell.done("api-key", "limit", "acme", trainee)
    replaced = shell.json("api-key", "rotate", "acme", key.id, "--overlap-hours", "1")
    assert replaced["text"].startswith("tt_sk_")
    shell.done("api-key", "revoke", "acme", replaced["key"]["id"])
    assert all(one["revoked_at"] for one in shell.json("api-key", "list", "acme") if one["name"] == "server")
