"""Trains the transformer and the T5 text encoder together on the kept latents: noise prediction, linear betas of 0.0001 to 0.02.

Loss weighted by min-SNR-5; timesteps 60 % logit-normal, 40 % uniform; 10 % empty captions for guidance. The rate is constant
until --decay of the steps and then falls linearly to 2 %; resumed with other --steps, the schedule follows.

usage: python train/transformer.py [--steps N] [--warm-start models/demo]
"""

import argparse
from pathlib import Path

import numpy
import torch
from diffusers import PixArtTransformer2DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import dataset
import sample
from state import FOLDER, Average, Run, prepare, random_state, set_random_state, set_rate, split_decay

SHARES = {"centre": 0.46, "size": 0.12, "side": 0.12, "pair": 0.30}


def new_models(vocabulary, heads, blocks, latents):
    text_encoder = T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=256,
            d_kv=64,
            d_ff=512,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            use_cache=False,
        )
    )
    transformer = PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=64,
        in_channels=latents,
        out_channels=2 * latents,  # noise, and a variance that no sampler of ours reads
        num_layers=blocks,
        cross_attention_dim=64 * heads,
        caption_channels=256,
        sample_size=16,
        patch_size=2,
        interpolation_scale=1,
        use_additional_conditions=False,
    )
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    for block in transformer.transformer_blocks:
        torch.nn.init.normal_(block.scale_shift_table, std=0.02)
        with torch.no_grad():
            block.scale_shift_table[[2, 5]] = 0.5  # the gates of attention and feed-forward
    torch.nn.init.normal_(transformer.adaln_single.linear.weight, std=0.01)
    return text_encoder, transformer


def deeper(transformer, blocks):
    """The same function with more blocks: those that are added begin as the identity, since all that they would add is multiplied by zero."""
    grown = PixArtTransformer2DModel.from_config({**transformer.config, "num_layers": blocks})
    missing, _ = grown.load_state_dict(transformer.state_dict(), strict=False)
    for block in list(grown.transformer_blocks)[transformer.config.num_layers :]:
        for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        torch.nn.init.normal_(block.scale_shift_table, std=0.02)
        with torch.no_grad():
            block.scale_shift_table[[2, 5]] = 0.5
    assert all(name.startswith("transformer_blocks.") for name in missing), missing
    return grown


def warm_models(folder, tokenizer, blocks):
    """The models of a finished checkpoint; each new piece starts at the mean of what the old tokenizer makes of its text."""
    text_encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    transformer = PixArtTransformer2DModel.from_pretrained(folder / "transformer").float()
    old = T5Tokenizer.from_pretrained(folder / "tokenizer")
    before = text_encoder.shared.weight.detach().clone()
    text_encoder.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        for index, piece in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
            same = old.convert_tokens_to_ids(piece)
            parts = [same] if same != old.unk_token_id or piece == "<unk>" else old(piece.replace("▁", " "), add_special_tokens=False).input_ids
            if parts:
                text_encoder.shared.weight[index] = before[parts].mean(0)
    return text_encoder, deeper(transformer, blocks) if blocks > transformer.config.num_layers else transformer


class Denoiser(torch.nn.Module):
    """The transformer as a function of tensors alone."""

    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, noisy, states, mask, times):
        conditions = {"resolution": None, "aspect_ratio": None}
        return self.transformer(
            noisy, encoder_hidden_states=states, encoder_attention_mask=mask, timestep=times, added_cond_kwargs=conditions
        ).sample


class Batches:
    """Draws latents of all kinds in their shares, each with one of its captions or the empty one."""

    def __init__(self, data, tokenizer, generator, device):
        latents, captions, self.kinds = data["latents"], data["captions"], {k: numpy.array(v) for k, v in data["kinds"].items()}
        texts = sorted({text for texts in captions for text in texts} | {""})
        ids = tokenizer(texts).input_ids
        self.lengths = numpy.array([len(row) for row in ids])
        self.tokens = torch.tensor([row + [0] * (self.lengths.max() - len(row)) for row in ids])
        index = {text: at for at, text in enumerate(texts)}
        # captions of a scene as rows of tokens, repeated up to the same count for all, which is a multiple of every count
        self.texts = numpy.array([[index[text] for text in texts] * (10 // len(texts)) for texts in captions])
        self.empty, self.generator, self.device = index[""], generator, device
        self.latents, self.tokens = latents.to(device), self.tokens.to(device)

    def draw(self, size):
        counts = self.generator.multinomial(size, list(SHARES.values()))
        chosen = numpy.concatenate([self.generator.choice(self.kinds[kind], count) for kind, count in zip(SHARES, counts, strict=True)])
        texts = self.texts[chosen, self.generator.integers(10, size=size)]
        texts = numpy.where(self.generator.random(size) < 0.1, self.empty, texts)
        # one length wherever a GPU would compile or plan anew for each; else no longer than needed
        longest = (self.lengths if self.device == "cuda" else self.lengths[texts]).max()
        tokens = self.tokens[torch.from_numpy(texts).to(self.device), :longest]
        mask = torch.arange(longest, device=self.device) < torch.from_numpy(self.lengths[texts]).to(self.device)[:, None]
        return self.latents[torch.from_numpy(chosen).to(self.device)].float(), tokens, mask.long()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--minutes", type=float, help="an end before the last step, which the rate's schedule follows")
    parser.add_argument("--decay", type=float, default=0.5, help="share of the steps after which the rate falls")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--average", type=float, default=0.999, help="rate of the moving average that is kept")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--graph", action="store_true", help="record the transformer as a CUDA graph: its kernels are too small to be launched one by one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--report", type=int, default=400)
    parser.add_argument("--warm-start", type=Path)
    args = parser.parse_args()
    if args.graph and args.device != "cuda":
        parser.error("--graph needs --device cuda")
    prepare(args.threads, args.seed, args.device)
    data = torch.load(FOLDER / "latents.pt", weights_only=False)
    tokenizer = T5Tokenizer.from_pretrained(FOLDER / "tokenizer")
    models = warm_models(args.warm_start, tokenizer, args.blocks) if args.warm_start else new_models(len(tokenizer), args.heads, args.blocks, data["latents"].shape[1])
    text_encoder, transformer = (model.to(args.device).train() for model in models)
    trained = [p for model in models for p in model.parameters()]
    optimizer = torch.optim.AdamW(split_decay(models, 0.01), lr=args.rate, betas=(0.9, 0.98), fused=True)
    average = Average(trained, args.average)
    generator = numpy.random.default_rng(args.seed)
    parts = {"text_encoder": text_encoder, "transformer": transformer, "optimizer": optimizer, "average": average}
    run = Run("transformer", args.steps, parts, generator, str(args.warm_start or "nothing"), args.device, args.minutes)
    batches = Batches(data, tokenizer, generator, args.device)
    predict = Denoiser(transformer)
    if args.graph:
        kept = generator.bit_generator.state  # the batch that is recorded is not one of training
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            latents, tokens, mask = batches.draw(args.batch)
            states = text_encoder(tokens, attention_mask=mask).last_hidden_state.detach().requires_grad_()
            predict = torch.cuda.make_graphed_callables(predict, (latents, states, mask, torch.zeros(args.batch, dtype=torch.long, device="cuda")))
        generator.bit_generator.state = kept
    alphas = torch.cumprod(1 - torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64), 0).float().to(args.device)
    prompts = report_prompts()

    def one_step(step):
        done = run.done()
        falling = 1 if done < args.decay else 0.02 + 0.98 * (1 - done) / (1 - args.decay)
        set_rate(optimizer, args.rate * min(1, (step + 1) / 100) * falling)
        latents, tokens, mask = batches.draw(args.batch)
        normal = (torch.sigmoid(torch.randn(args.batch, device=args.device)) * 1000).long().clamp(max=999)
        uniform = torch.randint(0, 1000, (args.batch,), device=args.device)
        times = torch.where(torch.rand(args.batch, device=args.device) < 0.6, normal, uniform)
        alpha = alphas[times][:, None, None, None]
        noise = torch.randn_like(latents)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        with torch.autocast(args.device, torch.bfloat16, cache_enabled=not args.graph):
            states = text_encoder(tokens, attention_mask=mask).last_hidden_state
            got = predict(noisy, states, mask, times)
        snr = alpha / (1 - alpha)
        loss = ((got.chunk(2, 1)[0].float() - noise).square() * (snr.clamp(max=5) / snr)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        average.update()
        return loss

    @torch.no_grad()
    def report(step):
        """A grid of held-out prompts with the average weights, which are saved as well."""
        kept = random_state()
        average.swap()
        for name, model in (("text_encoder", text_encoder), ("transformer", transformer)):
            model.save_pretrained(FOLDER / name)
        with torch.autocast(args.device, torch.bfloat16):
            pipeline = sample.pipeline_of(text_encoder, transformer, sample.newest_vae().to(args.device))
            pictures = sample.generate(pipeline, prompts)
        dataset.grid(pictures, 12, FOLDER / f"transformer-{step:06d}.png")
        average.swap()
        set_random_state(kept)
        text_encoder.train(), transformer.train()
        run.log(f"grid of step {step}")

    run.train(one_step, report, every=args.report)


def report_prompts():
    """36 held-out combinations and 12 compositions."""
    chosen = dataset.HELD_OUT[::3][:36]
    prompts = [dataset.captions(dataset.centred("centre", subject, colour, dataset.CENTRE))[0] for subject, colour in chosen]
    return prompts + [
        "a cat and a dog on a blue background",
        "a red apple and a cup of coffee on a pink background",
        "a bicycle to the left of a tree on a white background",
        "a bee to the right of a sunflower on a sky blue background",
        "a penguin and a rocket on a black background",
        "lion, elephant, green background",
        "a big bicycle on a white background",
        "a small bicycle on a white background",
        "a big violin on a teal background",
        "a small guitar on a yellow background",
        "a fox on the left on a purple background",
        "a key on the right on a brown background",
    ]


if __name__ == "__main__":
    main()
