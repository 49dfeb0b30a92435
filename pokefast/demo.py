"""Try a model in a browser: `python -m pokefast demo [--run RUN]`, a page on this machine alone.

The page is Gradio's, which `make demo` installs beside what is there: it asks for Pillow below 13,
whose decoders have a known hole, and works with 13.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import numpy as np

from pokefast.data.competition import competition_of_run
from pokefast.errors import UserError
from pokefast.images import image_error
from pokefast.names import shown
from pokefast.options import run_cli
from pokefast.prediction.onnx_file import open_predictor
from pokefast.prediction.pipeline import make_loader, picture_batches
from pokefast.report.gradcam import grad_cam, has_convolutions, overlay
from pokefast.runs import newest_run

__all__ = ["Demo", "main", "make_app", "make_page"]

EXAMPLES = 12  # images of the test part to choose from
LARGEST = "20mb"  # file
ENLARGED = 320  # pixels, of what the model gets, at least
# what the page may load: nothing from elsewhere; Gradio's own scripts stand in it
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


class Demo:
    """What the page shows of a picture: called with a file, it gives (message, probabilities by
    class, crop, heat map), arrays uint8 [h, w, 3 or 4]; None where there is nothing to show.
    """

    def __init__(self, predictor):
        self.predictor, self.busy = predictor, Lock()  # Grad-CAM's hooks stand in the model
        models = getattr(predictor, "models", [])  # an ONNX file has none
        self.has_map = bool(models) and has_convolutions(models[0])

    def __call__(self, file):
        if file is None:
            return "", None, None, None
        if reason := image_error(file):
            return f"**This picture cannot be read:** {reason}.", None, None, None
        with self.busy:
            found = self.predictor(file)
            ((crop,),) = picture_batches(self.predictor.pipeline, [file])
            heat = self._heat(file, crop, found.label) if self.has_map else None
        shares = {shown(label): p for label, p in found.probabilities.items()}
        return "", shares, _enlarged(crop), heat

    def _heat(self, file, crop, label):
        """Where the first model looked, over what it got."""
        model, device = self.predictor.models[0], self.predictor.device
        (x,) = make_loader(self.predictor.pipeline, [file], 1, device).one_batch()
        maps = grad_cam(model, x, target=self.predictor.vocab.index(label)).cpu().numpy()
        return _enlarged((255 * overlay(crop[None] / 255, maps)[0]).astype(np.uint8))


def make_page(demo, title, examples=()):
    """The page of a `Demo` as Gradio's `Blocks`, with image files to choose from."""
    import gradio as gr

    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.Markdown(f"# {shown(title)}\nDrop a picture, take one, or choose one of the test part.")
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label="Picture",
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    height=ENLARGED,
                )
                if examples:
                    gr.Examples(
                        [[str(file)] for file in examples],
                        picture,
                        label="Test part",
                        examples_per_page=EXAMPLES,
                    )
            with gr.Column():
                message = gr.Markdown()
                shares = gr.Label(label="Probabilities", num_top_classes=len(demo.predictor.vocab))
                with gr.Row():
                    crop = gr.Image(
                        label="What the model got",
                        interactive=False,
                        format="png",
                        buttons=["download"],
                    )
                    heat = gr.Image(
                        label="Where it looked",
                        interactive=False,
                        format="png",
                        buttons=["download"],
                        visible=demo.has_map,
                    )
        # the file as it is: Gradio would decode it, and a broken one would be no message of ours
        picture.change(
            lambda data: demo(data and data["path"]),
            picture,
            [message, shares, crop, heat],
            preprocess=False,
            show_progress="minimal",
            api_visibility="private",
        )
    return page


def make_app(page):
    """A page of `make_page` as an application of FastAPI that nobody reaches by another name, and
    whose pages load nothing from elsewhere.
    """
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def stay_here(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    # fonts of the system, as the default ones are fetched
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return gr.mount_gradio_app(
        app, page, "/", max_file_size=LARGEST, theme=theme, footer_links=[], ssr_mode=False
    )


def main(
    run: Path = None,  # a finished run's folder or a model.onnx; the newest run by default
    port: int = 7860,  # of 127.0.0.1
):
    """Show a page on which pictures get the model's class, until Ctrl-C."""
    run = run or newest_run()
    predictor = open_predictor(run)
    with TemporaryDirectory() as uploads:  # gone at the end
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False"}
        try:
            import gradio  # noqa: F401
            import uvicorn
        except ImportError as e:
            raise UserError(
                f"{e.name} is not installed: make demo does it, in the project's folder"
            ) from None
        app = make_app(make_page(Demo(predictor), run.resolve().name, _test_images(run)))
        print(f"http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def _test_images(run):
    """Some images of the test part of the run's competition, if it is still there."""
    folder = run if run.is_dir() else run.parent
    competition = competition_of_run(folder) if (folder / "run.json").is_file() else None
    return [] if competition is None else list(competition.test["path"][:EXAMPLES])


def _enlarged(image):
    """An image [h, w, channels] of few pixels with each of them as a square, RGB or RGBA."""
    factor = max(1, -(-ENLARGED // max(image.shape[:2])))
    image = image.repeat(factor, 0).repeat(factor, 1)
    return image.repeat(3, -1) if image.shape[-1] == 1 else image


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
