"""The page that shows the OpenAPI description."""

import base64
import hashlib
from typing import Final

_SCRIPT: Final = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});'

# BentoML ships Swagger UI's files, so the page needs no foreign server.
DOCS_PAGE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Facial emotion service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static_content/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body></html>
"""

_DIGEST: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
DOCS_POLICY: Final = (
    f"default-src 'self'; script-src 'self' 'sha256-{_DIGEST}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'"
)
"""The page's Content-Security-Policy: nothing foreign, and no script but its own."""
