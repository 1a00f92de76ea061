"""The teacher of the text towers: all-MiniLM-L6-v2, sentences to [N, 384], from an unpacked npm package.

    python -m training.minilm --from DIR --minilm DIR --out DIR

Writes names.json, captions.json + captions.npy, bank.json + bank.npy and tokens.npy (one row per CLIP token).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from training import phrases


class MiniLM:
    """Mean-pooled, normalised sentence embeddings."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(96)
        config = json.loads((folder / "config.json").read_text())
        self.model = BertModel(BertConfig(**config), add_pooling_layer=False).eval()
        weights = load_file(folder / "model.fp16.safetensors")
        wanted = self.model.state_dict().keys()
        self.model.load_state_dict({k: v.float() for k, v in weights.items() if k in wanted})

    @torch.inference_mode()
    def __call__(self, texts: list[str], batch: int = 256) -> np.ndarray:
        """[N, 384] float16. Sorted by length inside, so that little of a batch is padding."""
        ids = [self.tokenizer.encode(text).ids for text in texts]
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        answers = np.zeros((len(ids), 384), np.float16)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            longest = len(ids[part[-1]])
            tokens = torch.tensor([ids[k] + [0] * (longest - len(ids[k])) for k in part])
            mask = (tokens > 0).long()
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            pooled = (hidden.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            answers[part] = nn.functional.normalize(pooled, dim=-1).numpy()
        return answers


def clip_tokens() -> list[str]:
    """The text of each of CLIP's 49,408 tokens, as far as it is text."""
    decoder = open_clip.get_tokenizer("ViT-B-32").decoder
    return [decoder[k].replace("</w>", "") or "." for k in range(len(decoder))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed all phrases once.")
    parser.add_argument("--from", dest="root", type=Path, required=True, help="folder of git clones")
    parser.add_argument("--minilm", type=Path, required=True, help="folder with model.fp16.safetensors")
    parser.add_argument("--out", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--bank", type=int, default=190_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = phrases.label_names(args.root)
    (args.out / "names.json").write_text(json.dumps(names))
    captions = phrases.image_captions(names)
    (args.out / "captions.json").write_text(json.dumps(captions))
    bank = phrases.text_bank(names, args.bank)
    (args.out / "bank.json").write_text(json.dumps(bank))
    encode = MiniLM(args.minilm)
    texts = {"captions": [str(row["text"]) for row in captions], "tokens": clip_tokens(), "bank": bank}
    for name, lines in texts.items():
        np.save(args.out / f"{name}.npy", encode(lines))
        print(f"{name}: {len(lines)}", flush=True)


if __name__ == "__main__":
    main()
