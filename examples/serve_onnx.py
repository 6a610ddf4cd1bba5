"""Serve an exported classifier without fastleuk: onnxruntime, Pillow and the standard library.

    fastleuk export runs/RUN --preprocessing
    python examples/serve_onnx.py runs/RUN/export/model.onnx 8000
    curl --data-binary @cell.bmp http://127.0.0.1:8000

An example to begin from: no limits, no queue, no token (`fastleuk serve` has them). Research use.
"""

import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["fastleuk"])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        image = Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        pixels = np.asarray(image.convert("RGB"))[None]
        chances = dict(zip(about["classes"], session.run(None, {"images": pixels})[0][0].tolist()))
        positive, threshold = about["positive"], about["threshold"]
        if threshold is None or chances[positive] < threshold:
            others = [name for name in chances if threshold is None or name != positive]
            positive = max(others, key=chances.__getitem__)
        answer = {"label": positive, "probabilities": chances, "use": about["use"]}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
