"""An encoder-decoder read as a causal model of its output: then one code scores, decodes and trains both kinds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memaudit.errors import ModelError

if TYPE_CHECKING:
    from memaudit.recipe.population import TextPopulation


class EncoderDecoder(torch.nn.Module):
    """The model over rows of an input, the token `begin`, and an output; see `Rendering`.

    The tokens before `begin` go to the encoder. `begin` becomes the model's own first token of a decoder, and what
    follows goes to the decoder behind it: as `model(input_ids, labels=output)` does. The logits at `begin` and after
    predict the next token of the output. Those before it are 0 and mean nothing.

    Raises:
        ModelError: The model is no encoder-decoder of the transformers library, or of the same interface.
    """

    def __init__(self, model: Any, begin: int):
        super().__init__()
        config: Any = getattr(model, "config", None)
        first = getattr(config, "decoder_start_token_id", None)
        if not getattr(config, "is_encoder_decoder", False) or first is None:
            raise ModelError(
                f'the model is a {type(model).__name__}, no encoder-decoder, which objective="seq2seq" asks for: it '
                "needs config.is_encoder_decoder, config.decoder_start_token_id and the interface of transformers"
            )
        self.model, self.begin, self.first = model, begin, int(first)
        self.config = SimpleNamespace(vocab_size=int(config.vocab_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """Return the logits `[texts, tokens, vocabulary]` of rows that are padded on the right, as `.logits`."""
        attended = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        begins = (input_ids == self.begin) & (attended > 0)
        at = begins.int().argmax(dim=1)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        if not (at > 0).all():  # some row has no output yet, or no input
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, self.config.vocab_size, device=at.device))
        sources = torch.where(places < at[:, None], input_ids, self.begin)[:, : int(at.max())]
        width = int((attended.sum(dim=1) - at).max())
        outputs = input_ids.gather(1, (at[:, None] + places[:width]).clamp(max=input_ids.shape[1] - 1))
        outputs = torch.where(places[:width] == 0, self.first, outputs)
        logits = self._decoded(sources, outputs)
        back = (places - at[:, None]).clamp(0, width - 1)
        spread = logits.gather(1, back[..., None].expand(-1, -1, logits.shape[2]))
        return SimpleNamespace(logits=torch.where((places >= at[:, None])[..., None], spread, 0.0))

    def _decoded(self, sources: Tensor, outputs: Tensor) -> Tensor:
        """Return the decoder's logits; while evaluating, each distinct input is encoded once."""
        if self.model.training:  # with dropout, two equal inputs are not encoded alike
            found = self.model(
                input_ids=sources, attention_mask=(sources != self.begin).long(), decoder_input_ids=outputs,
                use_cache=False,
            )  # fmt: skip
        else:
            distinct, of = torch.unique(sources, dim=0, return_inverse=True)
            attended = (distinct != self.begin).long()
            encoded = self.model.get_encoder()(input_ids=distinct, attention_mask=attended)
            encoded.last_hidden_state = encoded.last_hidden_state[of]
            found = self.model(
                encoder_outputs=encoded, attention_mask=attended[of], decoder_input_ids=outputs, use_cache=False
            )
        logits: Tensor = found.logits
        return logits


def as_causal(model: Any, population: TextPopulation) -> Any:
    """Return what answers as a causal model does: an encoder-decoder in its disguise, any other model as it is."""
    return EncoderDecoder(model, population.renderer.pad) if population.objective == "seq2seq" else model
