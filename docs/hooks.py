"""Hooks for MkDocs, called while it builds the site."""

import logging
import shutil
from pathlib import Path

LOG = logging.getLogger("mkdocs")


def on_post_build(config):
    """Copies the crate's documentation, which `make docs` builds with rustdoc, next to the page on Rust."""
    written = Path(config.config_file_path).parent / "target/doc"
    if not (written / "mullama/index.html").is_file():
        LOG.info("no documentation of the crate: `make docs` has rustdoc write it")
        return
    site = Path(config.site_dir) / "rustdoc"
    shutil.copytree(written, site, ignore=shutil.ignore_patterns(".lock"), dirs_exist_ok=True)
