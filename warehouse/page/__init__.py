"""The static page of one run: `render.render_page` turns a warehouse and a run_id into one self-contained HTML file."""
