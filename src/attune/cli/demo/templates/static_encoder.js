/* Static query encoder: the weighted sum of a text's token vectors, of length 1, as attune.runtime.static computes it.

   Reads the two files of models/onnx/static: tokenizer.json, and model.safetensors with int8 `embeddings` (n_tokens, dim)
   and float32 `weights` (n_tokens). No import, no document: it runs in browsers, workers and Node alike.

   The tokenizer is BERT's, as the tokenizers library computes it: BertNormalizer, BertPreTokenizer, WordPiece. Others are
   refused. Both follow Unicode, in different versions: marks, punctuation and controls that it has named since version 8,
   all in rare scripts, are letters to the library. */

const LEAST_LENGTH = 1e-12; // a text without a token that has a vector stays zeros
const PUNCTUATION = /([!-\/:-@[-`{-~\p{P}])/u;
const CONTROL = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]/gu; // the other controls go, white space or not
const MARK = /\p{Mn}/gu;
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

/* WordPiece over BERT's words. Throws an Error for a tokenizer of another kind. */
export class Tokenizer {
  constructor(content) {
    const { normalizer, pre_tokenizer, model, added_tokens, truncation } = content;
    check("normalizer", normalizer?.type, "BertNormalizer");
    check("pre-tokenizer", pre_tokenizer?.type, "BertPreTokenizer");
    check("model", model.type, "WordPiece");
    if (added_tokens.some((token) => token.normalized || token.single_word)) {
      throw new Error("the tokenizer has added words that are no special tokens, expected none");
    }
    this.rules = normalizer;
    this.model = model;
    this.vocabulary = new Map(Object.entries(model.vocab));
    this.unknown = this.vocabulary.get(model.unk_token);
    this.special = new Map(added_tokens.map((token) => [token.content, token.id]));
    const longest = [...this.special.keys()].sort((one, other) => other.length - one.length);
    this.separators = longest.length ? new RegExp(`(${longest.map(literal).join("|")})`, "u") : null;
    this.truncation = truncation;
  }

  /* Returns the token ids of a text, without special tokens but those written out in it, cut at the maximum length. */
  ids(text) {
    const parts = this.separators ? text.split(this.separators) : [text];
    const ids = parts.flatMap((part) =>
      this.special.has(part) ? [this.special.get(part)] : this.words(part).flatMap((word) => this.pieces(word)),
    );
    if (!this.truncation || ids.length <= this.truncation.max_length) return ids;
    const { max_length, direction } = this.truncation;
    return direction === "Left" ? ids.slice(ids.length - max_length) : ids.slice(0, max_length);
  }

  /* Returns the words of a text: cleaned, lower case, without accents; punctuation and ideographs stand alone. */
  words(text) {
    const { clean_text, handle_chinese_chars, strip_accents, lowercase } = this.rules;
    let clean = text;
    if (clean_text) clean = clean.replace(CONTROL, "");
    if (handle_chinese_chars) clean = clean.replace(IDEOGRAPH, " $& ");
    if (strip_accents ?? lowercase) clean = clean.normalize("NFD").replace(MARK, "");
    // letter by letter: a final sigma would become another letter
    if (lowercase) clean = Array.from(clean, (letter) => letter.toLowerCase()).join("");
    return clean.split(/\p{White_Space}+/u).flatMap((chunk) => chunk.split(PUNCTUATION).filter((part) => part));
  }

  /* Returns the ids of a word's longest known beginnings, from left to right; of the unknown token if one is missing. */
  pieces(word) {
    const letters = Array.from(word);
    if (letters.length > this.model.max_input_chars_per_word) return [this.unknown];
    const ids = [];
    for (let start = 0; start < letters.length; ) {
      let stop = letters.length;
      let id;
      for (; stop > start; stop -= 1) {
        const piece = letters.slice(start, stop).join("");
        id = this.vocabulary.get(start ? this.model.continuing_subword_prefix + piece : piece);
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknown];
      ids.push(id);
      start = stop;
    }
    return ids;
  }
}

function check(what, got, expected) {
  if (got !== expected) throw new Error(`the tokenizer's ${what} is ${got}, expected ${expected}`);
}

function literal(text) {
  return text.replace(/[\\^$.*+?()[\]{}|\/-]/g, "\\$&");
}

/* Returns the arrays of a safetensors file, by name: {shape, values}. Throws an Error for other numbers than ours. */
export function tensors(buffer) {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const kinds = { I8: Int8Array, F32: Float32Array }; // little-endian, as every browser's machine is
  const found = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (!(dtype in kinds)) throw new Error(`${name} holds ${dtype}, expected I8 or F32`);
    const [first, last] = data_offsets;
    found[name] = { shape, values: new kinds[dtype](buffer.slice(start + first, start + last)) };
  }
  return found;
}

/* Token vectors, weights and tokenizer: texts to embeddings. */
export class StaticEncoder {
  /* content: of tokenizer.json, parsed; buffer: of model.safetensors, an ArrayBuffer. */
  constructor(content, buffer) {
    this.tokenizer = new Tokenizer(content);
    const { embeddings, weights } = tensors(buffer);
    [, this.dim] = embeddings.shape;
    this.vectors = embeddings.values;
    this.weights = weights.values;
  }

  /* Returns a text's embedding, a Float32Array of length `dim`: a vector of length 1, or zeros without known tokens. */
  encode(text) {
    const sum = new Float64Array(this.dim);
    for (const id of this.tokenizer.ids(text)) {
      const weight = this.weights[id];
      const first = id * this.dim;
      for (let place = 0; place < this.dim; place += 1) sum[place] += weight * this.vectors[first + place];
    }
    let squares = 0;
    for (const number of sum) squares += number * number;
    const length = Math.max(Math.sqrt(squares), LEAST_LENGTH);
    return Float32Array.from(sum, (number) => number / length);
  }
}
