"""Where items of a bank come from that its own model did not draw."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Origin(BaseModel):
    """Where the items of a part of a bank come from that was not drawn from the bank's own model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stop: int
    """One past its last item; it begins where the part before it ends."""
    model: str
    """The digest of the model that drew them."""
    bank: str
    """The digest of the bank that they were copied from, where they stand at the same places."""
