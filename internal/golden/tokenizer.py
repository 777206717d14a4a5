"""Makes clip/tokenizer/testdata: a small CLIP vocabulary (the first 300 merges of openai/CLIP) and what two tokenizers make of hard texts.

usage: tokenizer.py bpe_simple_vocab_16e6.txt.gz clip/tokenizer/testdata
       tokenizer.py bpe_simple_vocab_16e6.txt.gz FILE.json COUNT SEED     COUNT random texts, for go test ./clip/tokenizer -references FILE.json
PyPI: transformers 5.24.0, tokenizers 0.23.3, regex 2026.11.19, clip-anytorch 2.6.0 (openai/CLIP's clip/simple_tokenizer.py; --no-deps will do), ftfy

"transformers" is CLIPTokenizer, "openai" openai/CLIP's SimpleTokenizer, whose call of the library ftfy is left out.
"""
import gzip, json, os, random, sys, tempfile
import regex
from tokenizers import Regex, pre_tokenizers
import importlib.util, ftfy
from transformers import CLIPTokenizer

ftfy.fix_text = lambda text: text
# clip's own __init__ wants PyTorch's vision library; its tokenizer does not.
path = os.path.join(os.path.dirname(importlib.util.find_spec('clip').origin), 'simple_tokenizer.py')
spec = importlib.util.spec_from_file_location('simple_tokenizer', path)
simple = importlib.util.module_from_spec(spec); spec.loader.exec_module(simple)

TEXTS = [
    "", " ", "a", "two green dogs on the table.", "a photo of a red car in the forest", "four    Blue   CUPS!!", "café naïve résumé", "cafe\u0301",
    "一只绿色的猫", "🐶🐱 emoji", "it's we're I'll", "IT'S WE'RE I'LL DON'T", "rock'n'roll 'tis o'clock 'sup", "tabs\tand\nnewlines\r\n", "3.14159 12345 ½ Ⅷ ²",
    "<|endoftext|> inside <|startoftext|>", "x<|endoftext|>y<|ENDOFTEXT|>!!", "<|startoftext|", "İstanbul Σάς ΣΑΣ ὈΔΥΣΣΕΎΣ", "K Å ﬁ ſ 'ſ ẞ Ǆ ǅ",
    "&amp; html &lt;b&gt; &amp;amp; &amp;amp;amp;", "&notit; &frac12 &copy2024 &nosuch; &amp", "&#65;&#x42;&#0;&#128;&#129;&#13;&#1;&#xd800;&#x110000;&#xfffe;&#99999999999;", "&#38;amp;amp; &; &# &#x;",
    "\u00a0non\u2003breaking\u3000spaces\u0085next\u2028line", "\u001f control \u0007", "\u001cfs\u001d", "\u200bzero\u200dwidth\ufeffbom", "ＦＵＬＬ width", "a\u0301\u0323 marks",
    "$5.00 + 10% = ???", "a_b-c/d\\e", "नमस्ते", "🏳️\u200d🌈", "ⓐⒶ ͅ combining ͅx", "\x00 nul", "��", "ᏣᎳᎩ Ꭰꭰ", "Ⱥ ȿ Ɀ", "ß ŉ ǰ ΐ", "1st 2nd 22222", "can't   won't", "...---!!!'s", "''s'", "'S 'T 'RE",
    "two  green\u00a0dogs", "word" * 40, "!" * 90, "a!b", "the " * 80, "中" * 30, "e\u0301" * 20, "\U0001F468\u200d\U0001F469\u200d\U0001F467", "שלום עולם", "สวัสดี", "한국어", "가", "Ω Ω", "I\u0307", "\u0130",
    "&lt;|endoftext|&gt; &amp;lt;|STARTOFTEXT|&amp;gt;", "&#x1f600; &#x27;s &apos;T &#39;LL", "&NotEqualTilde; &ngE; &hellip;&hellip", "Straße STRASSE ǅungla", "\u1680ogham\u202fnarrow\u205fmath\u2009thin\u180e", "a\u0300\u0301 \u00c0\u0301 \u1ea4",
    "Σ ΑΣ ΑΣ. ΑΣΑ Σ' ΑΣ\u0301 ΑΣ\u0345Α", "ℌ ℵ ℃ Ⅻ ⅻ ① ٣ ३", "\x1c\x1d\x1e\x1f", "\x0b\x0c\x7f\x80\x9f", "🇩🇪🇫🇷 👍🏽 ❤️ ☺", "ﷺ ㍿ ｱﾞ", "𝒜𝕭 𝟘𝟙 𐐀𐐨 𞤀", "\ue000\uffff\U0010ffff", "<|startoftext|><|endoftext|><|endoftext|>", "< |endoftext|> <|endof text|>",
]

PARTS = ["<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "<|EndOfText|>", "&amp;", "&lt;", "&#x27;", "&#39", "&copy", "&notin;", "&NotEqualTilde;", "&#x130;", "&#931;", "'s", "'T", "'LL", "'ſ", "''", "İ", "Σ", "ς", "ß", "ẞ", "\u0345", "\u0301", "\u0323", "\u0327",
    "  ", "\u00a0", "\u2003", "\u0085", "\u001c", "\u001f", "\u2028", "\u3000", "\u200b", "dog", "the ", "Cat", "PHOTO", "中", "한", "\u1112\u1161\u11ab", "🐶", "\ufe0f", "\u200d", "é", "É", "Å", "Ω", "!!", "...", "12", "½", "_", "ﬁ", "ǅ"]

def symbols(): return list(simple.bytes_to_unicode().values())

def words(merges): return symbols() + [c + '</w>' for c in symbols()] + [''.join(m.split()) for m in merges] + ['<|startoftext|>', '<|endoftext|>']

def write(folder, merges):
    os.makedirs(folder, exist_ok=True)
    json.dump({w: i for i, w in enumerate(words(merges))}, open(f'{folder}/vocab.json', 'w', encoding='utf-8'), ensure_ascii=False)
    open(f'{folder}/merges.txt', 'w', encoding='utf-8').write('#version: 0.2\n' + '\n'.join(merges) + '\n')

def both(folder, merges):
    with tempfile.NamedTemporaryFile(suffix='.gz') as f:
        f.write(gzip.compress(('#version\n' + '\n'.join(merges)).encode())); f.flush()
        openai = simple.SimpleTokenizer(f.name)
    hf = CLIPTokenizer(f'{folder}/vocab.json', f'{folder}/merges.txt')
    return (lambda text: hf(text, add_special_tokens=False).input_ids), openai.encode

ALL = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000]
KNOWN = set(''.join(p for p, _ in pre_tokenizers.Split(Regex(r'[^\p{L}\p{N}]'), 'removed').pre_tokenize_str(''.join(ALL))))
TOO_NEW = {c for c in ALL if regex.match(r'[\p{L}\p{N}]', c) and c not in KNOWN}

def character(rng):
    """Any character, the common planes most of the time; never a surrogate, which no text in UTF-8 holds, and none that the library
    regex knows as a letter or number and tokenizers does not yet."""
    while True:
        c = rng.randrange(*rng.choice([(0x20, 0x7f), (0, 0x250), (0x250, 0x3000), (0x3000, 0x10000), (0x10000, 0x20000), (0, 0x110000)]))
        if not (0xd800 <= c < 0xe000 or chr(c) in TOO_NEW): return chr(c)

def hard(rng):
    kind = rng.random()
    if kind < .4: return ''.join(rng.choice(PARTS) if rng.random() < .6 else character(rng) for _ in range(rng.randint(1, 25)))
    if kind < .7: return ' '.join(rng.choice(TEXTS) for _ in range(rng.randint(1, 4)))
    return ''.join(character(rng) for _ in range(rng.randint(1, 30)))

# Folders as files have them: what is beside vocab.json and merges.txt, or a change of the tokenizer.json made of them.
OBJECT = lambda content, **more: {'__type': 'AddedToken', 'content': content, 'lstrip': False, 'normalized': True, 'rstrip': False, 'single_word': False} | more
START, END = '<|startoftext|>', '<|endoftext|>'
OLD = {'bos_token': OBJECT(START), 'eos_token': OBJECT(END), 'unk_token': OBJECT(END), 'pad_token': END, 'model_max_length': 77, 'do_lower_case': True}
NEW = {'bos_token': START, 'eos_token': END, 'unk_token': END, 'pad_token': END, 'model_max_length': 77}
ADDED = lambda content, **more: {'content': content, 'lstrip': False, 'normalized': False, 'rstrip': False, 'single_word': False, 'special': False} | more
DECODER = {'812': ADDED(START, special=True, normalized=True), '813': ADDED(END, special=True), '814': ADDED('<Cat-Toy>', normalized=True, lstrip=True), '815': ADDED('<cat-toy>_1', rstrip=True),
    '816': ADDED('sks', single_word=True), '817': ADDED('  É', normalized=True)}
FOLDERS = [
    {'tokenizer_config.json': OLD},
    {'tokenizer_config.json': OLD | {'pad_token': OBJECT('!')}},
    {'tokenizer_config.json': NEW | {'pad_token': '!', 'model_max_length': 9}},
    {'tokenizer_config.json': NEW | {'added_tokens_decoder': DECODER}},
    {'tokenizer_config.json': OLD | {'added_tokens_decoder': DECODER}},
    {'tokenizer_config.json': NEW, 'added_tokens.json': {'<cat-toy>': 814, 'Sks': 815}},
    {'tokenizer_config.json': NEW | {'extra_special_tokens': ['<Cat-Toy>', 'sks']}},
    {'tokenizer_config.json': NEW | {'additional_special_tokens': ['<Cat-Toy>', 'sks']}},
    {'tokenizer_config.json': NEW, 'special_tokens_map.json': {'bos_token': ADDED(START, normalized=True), 'eos_token': ADDED(END, rstrip=True, lstrip=True), 'pad_token': '!', 'unk_token': END}},
    {'tokenizer_config.json': NEW, 'tokenizer.json': [ADDED(START, id=812, special=True), ADDED(END, id=813, special=True), ADDED('<Cat-Toy>', id=814, normalized=True, rstrip=True), ADDED('sks', id=815, lstrip=True)]},
    {'tokenizer_config.json': OLD, 'tokenizer.json': [ADDED(START, id=812, special=True), ADDED(END, id=813, special=True), ADDED('a</w>', id=320, single_word=True)]},
]
FOLDER_TEXTS = [
    "", "a!b !!", "a <|endoftext|> b", "A <|ENDOFTEXT|> B<|StartOfText|>c", "x <cat-toy> y", "x  <Cat-Toy>  y<CAT-TOY>z", "<cat-toy>_1  <Cat-Toy>_1 _1", "sks dog, Sks dog SKS", "asks sksa _sks sks_ sks-sks (sks) 中sks sks\u0301 é",
    "x \u00a0É y  e\u0301 z\u2003\u2003É", "sks sks<cat-toy><cat-toy>", "a a aa 'a'", "a</w> a</w>a xa</w>", "the " * 90, "<|endoftext|>  <|endoftext|>\u3000!", "\u3000sks\u3000sks\u3000",
]

def folders(small, merges):
    rows = []
    for files in FOLDERS:
        with tempfile.TemporaryDirectory() as d:
            write(d, merges)
            for name, content in files.items():
                if name == 'tokenizer.json':
                    whole = json.loads(CLIPTokenizer(f'{d}/vocab.json', f'{d}/merges.txt').backend_tokenizer.to_str()); whole['added_tokens'] = content; content = whole
                    os.remove(f'{d}/vocab.json'); os.remove(f'{d}/merges.txt')
                json.dump(content, open(f'{d}/{name}', 'w'))
            hf = CLIPTokenizer.from_pretrained(d)
            ids = [hf(t, padding='max_length', truncation=True).input_ids for t in FOLDER_TEXTS]
        rows.append({'files': files, 'ids': ids})
    return {'texts': FOLDER_TEXTS, 'folders': rows}

def dump(name, rows): open(name, 'w').write('[\n' + ',\n'.join(json.dumps(r, ensure_ascii=True) for r in rows) + '\n]\n')

def main(bpe, out, count='', seed=''):
    merges = gzip.open(bpe, 'rt', encoding='utf-8').read().split('\n')[1:49152 - 256 - 2 + 1]
    rng = random.Random(int(seed or 1)); full = tempfile.mkdtemp(); write(full, merges)
    texts = [hard(rng) for _ in range(int(count))] if count else TEXTS + [hard(rng) for _ in range(240)]
    hf, openai = both(full, merges)
    rows = [{'text': t, 'full_transformers': hf(t), 'full_openai': openai(t)} for t in texts]
    if count: return dump(out, rows)
    write(f'{out}/small', merges[:300])
    hf, openai = both(f'{out}/small', merges[:300])
    for r in rows: r |= {'small_transformers': hf(r['text']), 'small_openai': openai(r['text'])}
    dump(f'{out}/references.json', rows)
    json.dump(folders(f'{out}/small', merges[:300]), open(f'{out}/folders.json', 'w'), separators=(',', ':'))

if __name__ == '__main__': main(*sys.argv[1:])
