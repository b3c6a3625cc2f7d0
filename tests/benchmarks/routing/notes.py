"""What a reader of the figures has to know, printed with them."""

from typing import Final

NOTES: Final = {
    "settings": "All are those that ship, but for the price of waiting: it is 0, since the files tell no latencies."
    " Nothing was tuned on the files measured.",
    "money": "Counted in billionths of a dollar, where a ledger counts millionths. A bill is taken to be all for tokens"
    " of the answer, at the price of output tokens, since the files tell no tokens.",
    "best mix": "Of models at the same cost, with no look at the prompt. It and the clairvoyant are computed from the"
    " outcomes of the prompts measured. not_below_mix: the interval of the difference is not all under 0.",
    "published": "By the package's authors, with its own embeddings and warm-up priors, at budgets that ours are to two"
    " digits. above_published: our interval is all above theirs.",
    "paretobandit": "Runs on TF-IDF projected to 25 whitened components and a bias, fitted on the prompts learned, in"
    " place of its sentence-transformers model, and without its warm-up priors, which need that model. Pacer and"
    " hyperparameters are those of its experiment 01; beside them, its own hyperparameters for a start without priors.",
    "drift": "Three phases, the third on the prompts of the first. In the second, gemini-2.5-pro's bills fall to 1.78 %"
    " as in ParetoBandit's experiment 02, and its price is announced to fall by the same factor.",
    "regression": "Three phases as in drift. In the second, mistral-large's rewards silently fall: in proportion, to"
    " a mean; or every one to 0.75, as in ParetoBandit's experiment 03. The oracle knows each prompt's rewards, and"
    " keeps the budget.",
    "newcomer": "mistral-large is registered only after the prompts to learn on; the bad one has half its rewards.",
    "mmlu, gsm8k": "Nothing is learned before; the last half of the stream is measured. The published APGR is of a"
    " router trained before on preference data, which is told no outcome of the test.",
}
