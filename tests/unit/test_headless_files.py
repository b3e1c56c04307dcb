"""Files come from the input folder, go into the output folder, and are never overwritten or half written."""

from __future__ import annotations

from pathlib import Path

import pytest
from framepack_transitions.headless.files import folders
from framepack_transitions.headless.files.folders import Folders
from framepack_transitions.headless.host import LoadImage


@pytest.fixture
def place(tmp_path: Path) -> Folders:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("in/a.png", "in/sub/b.png", "secret.png"):
        (tmp_path / name).write_bytes(b"x")
    return Folders(tmp_path / "in", tmp_path / "out")


def save(place: Folders, prefix: str, extension: str = ".png") -> str:
    with place.new_file(prefix, extension, (64, 32)) as file:
        file.unfinished.write_text("data", encoding="utf-8")
    return file.path.relative_to(place.output.resolve()).as_posix()


@pytest.mark.parametrize("name", ["a.png", "sub/b.png", "a.png [input]"])
def test_files_of_the_input_folder_are_found(place: Folders, name: str) -> None:
    assert place.input_file(name).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "/etc/hostname", "../in2/a.png"])
def test_paths_that_leave_the_input_folder_are_refused(place: Folders, name: str) -> None:
    with pytest.raises(ValueError, match="outside the input folder"):
        place.input_file(name)


def test_a_link_that_leaves_the_input_folder_is_refused(place: Folders) -> None:
    (place.input / "link.png").symlink_to(place.input.parent / "secret.png")
    with pytest.raises(ValueError, match="outside the input folder"):
        place.input_file("link.png")


def test_a_missing_file_is_named_with_what_is_there(place: Folders) -> None:
    with pytest.raises(ValueError, match=r"has no file 'c.png', it holds a.png, sub"):
        place.input_file("c.png")
    with pytest.raises(ValueError, match="it is empty or missing"):
        Folders(place.input / "nowhere", place.output).input_file("c.png")


def test_files_of_the_output_folder_cannot_be_read(place: Folders) -> None:
    with pytest.raises(ValueError, match="marked as output"):
        place.input_file("a.png [output]")


def test_files_are_counted_as_in_comfyui(place: Folders) -> None:
    assert [save(place, "clip", ".mp4") for _ in range(2)] == ["clip_00001_.mp4", "clip_00002_.mp4"]
    assert save(place, "video/%width%x%height%/clip") == "video/64x32/clip_00001_.png"


def test_the_counter_goes_on_from_the_highest(place: Folders) -> None:
    place.output.mkdir()
    (place.output / "clip_00041_.mp4").write_text("kept", encoding="utf-8")
    (place.output / "clip_two_00077_.mp4").write_text("another prefix", encoding="utf-8")
    assert save(place, "clip", ".png") == "clip_00042_.png"
    assert (place.output / "clip_00041_.mp4").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize("prefix", ["../clip", "a/../../clip", "/tmp/clip", "", ".", "folder/"])
def test_prefixes_that_leave_the_output_folder_are_refused(place: Folders, prefix: str) -> None:
    with pytest.raises(ValueError, match="does not name a file inside the output folder"):
        save(place, prefix)
    assert not (place.output.parent / "clip_00001_.png").exists()


@pytest.mark.parametrize("prefix", [".clip", "video/.clip", ".video/clip", "a\\.clip", ".\\clip"])
def test_hidden_names_are_refused(place: Folders, prefix: str) -> None:
    with pytest.raises(ValueError, match="would be hidden"):
        save(place, prefix)
    assert not place.output.exists()


@pytest.mark.parametrize("prefix", ["x" * 300, "a\nb", "a\x1b[2Jb"])
def test_names_that_no_system_could_show_are_refused(place: Folders, prefix: str) -> None:
    with pytest.raises(ValueError, match="too long for a name or holds letters"):
        save(place, prefix)


@pytest.mark.parametrize("name", ["", " ", ".secret", "sub/.secret", "a\0b"])
def test_hidden_and_empty_names_are_not_read(place: Folders, name: str) -> None:
    (place.input / ".secret").write_text("key", encoding="utf-8")
    with pytest.raises(ValueError, match="is empty, hidden or not printable"):
        place.input_file(name)
    assert ".secret" not in place.input_files(frozenset({""}))


def test_a_prefix_does_not_follow_a_link_out_of_the_output_folder(place: Folders, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.output.mkdir()
    (place.output / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="does not name a file inside the output folder"):
        save(place, "link/clip")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_interrupted_file_leaves_nothing(place: Folders) -> None:
    def write_half() -> None:
        with place.new_file("clip", ".mp4") as file:
            file.unfinished.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(place.output.iterdir()) == []


@pytest.mark.parametrize(("data", "left"), [("half", ["clip_00001_.mp4"]), ("", [])])
def test_of_an_interrupted_file_that_grows_what_is_there_is_left(
    place: Folders, data: str, left: list[str]
) -> None:
    def write_half() -> None:
        with place.new_file("clip", ".mp4", grows=True) as file:
            assert file.unfinished == file.path
            file.path.write_text(data, encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in place.output.iterdir()] == left


def test_the_image_loader_says_what_is_wrong_before_the_run(place: Folders) -> None:
    with folders.using(place):
        assert LoadImage.VALIDATE_INPUTS("a.png") is True
        assert "outside the input folder" in str(LoadImage.VALIDATE_INPUTS("../secret.png"))
        assert LoadImage.INPUT_TYPES()["required"]["image"][0] == ["a.png"]
