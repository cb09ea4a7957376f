"""The static page of one run: `render_page` turns a warehouse and a run_id into one self-contained HTML file."""

from warehouse.page.render import render_page

__all__ = ["render_page"]
