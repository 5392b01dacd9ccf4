"""PyTorch's answers for Hugging Face's BertModel, with the weights that make_networks.py describes.

usage: make_bert.py OUT
OUT/bert_base_uncased.json lists the state dict of the published network in order ([key, shape]). OUT/bert.json and
OUT/bert.safetensors are those of a small network: `ids`, `token_types` and `mask` are [2, 19] (uint32, uint32 and
uint8; the second sequence has 12 tokens and 7 tokens of padding), and `output` [2, 20, 64] has the hidden states
without those of the padding, which are zero, and, at position 19, the output of the pooler. `output_without_mask` is
the same without mask and token types.
"""
import json, os, sys
import numpy as np, torch
from transformers import BertConfig, BertModel
from make_networks import fill, record, uniform

out = sys.argv[1]; os.makedirs(out, exist_ok=True)
published = BertModel(BertConfig())
json.dump([[k, list(v.shape)] for k, v in published.state_dict().items()], open(f"{out}/bert_base_uncased.json", "w"))

m = BertModel(BertConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                         intermediate_size=256, max_position_embeddings=40, attn_implementation="eager"))
keys = fill(m); m.eval().double()
ids = torch.from_numpy(((uniform(1000, 38) + 0.5) * 999).astype(np.int64).reshape(2, 19)) + 1
types = (torch.arange(19) >= 8).long().repeat(2, 1); mask = torch.ones(2, 19).long()
mask[1, 12:] = 0; ids[1, 12:] = 0

def joined(y): return torch.cat([y.last_hidden_state, y.pooler_output[:, None]], 1)

y = joined(m(ids, attention_mask=mask, token_type_ids=types)) * torch.cat([mask, torch.ones(2, 1)], 1)[..., None]
plain = joined(m(ids)).detach().float()
record(f"{out}/bert", m, keys, {"ids": ids.to(torch.uint32), "token_types": types.to(torch.uint32),
                                "mask": mask.to(torch.uint8), "output_without_mask": plain}, y)
