import os

import pytest

from linea_diffusion.concepts.files import MEBIBYTE, read_bytes
from linea_diffusion.errors import LineaError


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abc\r\n")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_bytes(tmp_path / "a", limit=5) == read_bytes(str(tmp_path / "b")) == b"abc\r\n"


def test_a_pipe_a_device_and_a_folder_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(LineaError, match=r"^got jobs .*expected a re"):
            read_bytes(path, what="jobs")


def test_a_file_over_the_limit_is_refused_without_reading_it_whole(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(LineaError, match="more than 1 MiB"):
        read_bytes(tmp_path / "large", limit=MEBIBYTE)


@pytest.mark.parametrize("name", ["missing", "nul\0", "x" * 5000])
def test_what_cannot_be_opened_is_one_line(tmp_path, name):
    with pytest.raises(LineaError, match="expected a readable file") as caught:
        read_bytes(tmp_path / name)
    assert "\n" not in str(caught.value)
