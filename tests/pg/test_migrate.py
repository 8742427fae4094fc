"""reeve-migrate on a real server."""


def test_up_applies_all_and_again_nothing(empty):
    first = empty.migrate("up")
    assert "0001_queue: applied" in first.stdout
    again = empty.migrate("up")
    assert again.stdout == "Up to date: the schema has version 1.\n"
    assert empty.sql("select version, name from reeve.schema_migration") == [(1, "queue")]
