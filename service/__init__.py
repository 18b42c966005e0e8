"""The service: answers over HTTP which expression a face shows.

What training needs, too, stands here: `labels`, `preprocess`, `network`, `artifact`, `device`. A
module may use those of its own package, of the packages before it here, and those of `service`
itself; `app` puts all together.

- `inference`: answers for faces
- `reading`: from the bytes of a request to faces
- `server`: the process, its connections and its health
- `routes`: the HTTP routes
"""
