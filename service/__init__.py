"""The service: answers over HTTP which expression a face shows.

What training needs, too, stands here: `labels`, `preprocess`, `network`, `artifact`, `device`; and
what all packages need: `errors`, `settings`, `metrics`, `log`, `cores`, `version`. A module of a
package may use these, those of its own package and of the packages before it here; `app` puts all
together.

- `inference`: answers for faces
- `reading`: from the bytes of a request to faces
- `server`: the process, its connections and its health
- `routes`: the HTTP routes
"""
