from pathlib import Path

from comem_core.backbone.finding import SHIPPED, find_installed_folder


def test_a_shipped_model_that_another_machine_names_is_found_where_this_one_has_it(tmp_path: Path) -> None:
    elsewhere = Path("/nowhere/comem_core/backbone/shipped")
    assert find_installed_folder(elsewhere / "tiny") == SHIPPED / "tiny"
    assert find_installed_folder(elsewhere / "enormous") == elsewhere / "enormous"
    assert find_installed_folder(Path("/nowhere/tiny")) == Path("/nowhere/tiny")
    assert find_installed_folder(tmp_path) == tmp_path
