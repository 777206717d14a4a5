"""Makes clip/tokenizer/testdata: a small CLIP vocabulary (the first 300 merges of openai/CLIP) and what two tokenizers make of hard texts.

usage: tokenizer.py bpe_simple_vocab_16e6.txt.gz clip/tokenizer/testdata     (PyPI: transformers 5.23.0, regex)

"transformers" is CLIPTokenizer; "openai" is the algorithm of openai/CLIP's simple_tokenizer.py (MIT licence) without
the library ftfy: html.unescape twice, strip, join spaces, lower, split, byte-pair encoding.
"""
import gzip, html, json, os, random, sys
import regex
from transformers import CLIPTokenizer

TEXTS = [
    "", " ", "a", "two green dogs on the table.", "a photo of a red car in the forest", "four    Blue   CUPS!!", "café naïve résumé", "cafe\u0301",
    "一只绿色的猫", "🐶🐱 emoji", "it's we're I'll", "IT'S WE'RE I'LL DON'T", "rock'n'roll 'tis o'clock 'sup", "tabs\tand\nnewlines\r\n", "3.14159 12345 ½ Ⅷ ²",
    "<|endoftext|> inside <|startoftext|>", "x<|endoftext|>y<|ENDOFTEXT|>!!", "<|startoftext|", "İstanbul Σάς ΣΑΣ ὈΔΥΣΣΕΎΣ", "K Å ﬁ ſ 'ſ ẞ Ǆ ǅ",
    "&amp; html &lt;b&gt; &amp;amp; &amp;amp;amp;", "&notit; &frac12 &copy2024 &nosuch; &amp", "&#65;&#x42;&#0;&#128;&#129;&#13;&#1;&#xd800;&#x110000;&#xfffe;&#99999999999;", "&#38;amp;amp; &; &# &#x;",
    "\u00a0non\u2003breaking\u3000spaces\u0085next\u2028line", "\u001f control \u0007", "\u001cfs\u001d", "\u200bzero\u200dwidth\ufeffbom", "ＦＵＬＬ width", "a\u0301\u0323 marks",
    "$5.00 + 10% = ???", "a_b-c/d\\e", "नमस्ते", "🏳️\u200d🌈", "ⓐⒶ ͅ combining ͅx", "\x00 nul", "��", "ᏣᎳᎩ Ꭰꭰ", "Ⱥ ȿ Ɀ", "ß ŉ ǰ ΐ", "1st 2nd 22222", "can't   won't", "...---!!!'s", "''s'", "'S 'T 'RE",
    "two  green\u00a0dogs", "word" * 40, "!" * 90, "a!b", "the " * 80, "中" * 30, "e\u0301" * 20, "\U0001F468\u200d\U0001F469\u200d\U0001F467", "שלום עולם", "สวัสดี", "한국어", "가", "Ω Ω", "I\u0307", "\u0130",
]

def words(chars, merges): return chars + [c + '</w>' for c in chars] + [''.join(m.split()) for m in merges] + ['<|startoftext|>', '<|endoftext|>']

def symbols():
    bs = list(range(ord('!'), ord('~') + 1)) + list(range(ord('¡'), ord('¬') + 1)) + list(range(ord('®'), ord('ÿ') + 1)); cs = bs[:]; n = 0
    for b in range(256):
        if b not in bs: bs.append(b); cs.append(256 + n); n += 1
    return dict(zip(bs, map(chr, cs)))

class OpenAI:
    def __init__(self, merges):
        self.symbol = symbols(); self.ids = {w: i for i, w in enumerate(words(list(self.symbol.values()), merges))}; self.ranks = {tuple(m.split()): i for i, m in enumerate(merges)}
        self.pat = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
    def bpe(self, token):
        if token in ('<|startoftext|>', '<|endoftext|>'): return [token]
        w = list(token[:-1]) + [token[-1] + '</w>']
        while len(w) > 1:
            best = min(zip(w, w[1:]), key=lambda p: self.ranks.get(p, 1 << 60))
            if best not in self.ranks: break
            out, i = [], 0
            while i < len(w):
                if i + 1 < len(w) and (w[i], w[i + 1]) == best: out.append(w[i] + w[i + 1]); i += 2
                else: out.append(w[i]); i += 1
            w = out
        return w
    def __call__(self, text):
        text = html.unescape(html.unescape(text)).strip(); text = regex.sub(r'\s+', ' ', text).strip().lower()
        return [self.ids[p] for t in regex.findall(self.pat, text) for p in self.bpe(''.join(self.symbol[b] for b in t.encode('utf-8', 'replace')))]

def main(bpe, out):
    lines = gzip.open(bpe, 'rt', encoding='utf-8').read().split('\n')[1:49152 - 256 - 2 + 1]; rows = [{'text': t} for t in TEXTS]
    rng = random.Random(1); pool = [c for t in TEXTS for c in t]
    rows += [{'text': ''.join(rng.choices(pool, k=rng.randint(1, 30)))} for _ in range(60)]
    for key, n in (('small', 300), ('full', len(lines))):
        merges = lines[:n]; d = f'{out}/small' if key == 'small' else '/tmp/full_clip'; os.makedirs(d, exist_ok=True)
        json.dump({w: i for i, w in enumerate(words(list(symbols().values()), merges))}, open(f'{d}/vocab.json', 'w', encoding='utf-8'), ensure_ascii=False)
        open(f'{d}/merges.txt', 'w', encoding='utf-8').write('#version: 0.2\n' + '\n'.join(merges) + '\n')
        hf, oa = CLIPTokenizer(f'{d}/vocab.json', f'{d}/merges.txt'), OpenAI(merges)
        for r in rows: r[f'{key}_transformers'] = hf(r['text'], add_special_tokens=False).input_ids; r[f'{key}_openai'] = oa(r['text'])
    text = ',\n'.join(json.dumps(r, ensure_ascii=True) for r in rows); open(f'{out}/references.json', 'w').write('[\n' + text + '\n]\n')

if __name__ == '__main__': main(*sys.argv[1:])
