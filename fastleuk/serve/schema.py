"""The answers, as OpenAPI describes them."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Prediction(BaseModel):
    """What is said of one image."""

    name: str = Field(description="File name, as the client gave it")
    label: str | None = Field(description="Class at the run's threshold; null with an error")
    probabilities: dict[str, float] | None = Field(
        description="By class, calibrated; of several runs their mean; null with an error"
    )
    spread: float | None = Field(
        description="Standard deviation between several runs of the label's probability"
    )
    note: str = Field(description="What of the image is not used as it stands")
    error: str = Field(description="Why there is no prediction")


class Predictions(BaseModel):
    """What is said of the images of a request, in their order."""

    predictions: list[Prediction]
    use: str = Field(description="What the predictions are for")


class Refusal(BaseModel):
    """Why a request is not served."""

    detail: str


class Explanation(BaseModel):
    """Grad-CAM of one image."""

    target: str = Field(description="The class that is explained")
    image: str = Field(description="The image as the network sees it: a PNG as a data URI")
    overlay: str = Field(description="The heat laid over it, the cell outlined: the same")
    inside: float | None = Field(description="Share of the heat on the cell, 0 to 1")
    share: str = Field(description="The same as a sentence, or the reason that there is none")
    run: str = Field(description="The run whose network is explained")


class Bounds(BaseModel):
    """What is taken at most."""

    images: int
    image_mb: float
    request_mb: float
    megapixels: float


class About(BaseModel):
    """What is served."""

    runs: list[str]
    backbones: list[str]
    classes: list[str]
    meanings: str = Field(description="The classes' names expanded, where they are known")
    positive: str | None
    threshold: float | None
    label_rule: str = Field(description="How probabilities become a label, and where it was chosen")
    calibration: str = Field(description="Whether, and where, probabilities were calibrated")
    synthetic: bool = Field(description="Trained on synthetic demo cells, not patients")
    heat_maps: bool = Field(description="Whether /explain works")
    limits: Bounds
    use: str
    version: str


class Health(BaseModel):
    """Whether predictions can be made."""

    status: str
