"""Example command lines of each verb, for its help and man page."""

EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "": [
        ("septool separate call.wav", "each voice of a recording in a file of its own"),
        ("septool models list", "the checkpoints on this machine, and their scores"),
    ],
    "separate": [
        ("septool separate call.wav", "call_s1.wav and call_s2.wav, at the recording's rate and level"),
        ("septool separate calls/ -o voices --skip-existing", "a tree of recordings; run it again to resume"),
        ("ffmpeg -i film.mp4 -f wav - | septool separate - -o - > voices.wav", "in a pipe, one channel per voice"),
        (
            "find . -name '*.m4a' -print0 | septool separate --from-file - -o voices --manifest results.jsonl",
            "a list of recordings, and a record of the results",
        ),
        (
            "arecord -t raw -f S16_LE -r 16000 | septool separate - --raw s16le:16000:1 --stream --segment 10",
            "live: the voices are separated during the recording",
        ),
        ("septool separate calls/ -o voices --html voices/report.html", "a page with players and spectrograms"),
        (
            "septool separate meeting.wav --speakers auto --activity rttm",
            "a track for each person, and who speaks when",
        ),
    ],
    "activity": [
        ("septool activity meeting.wav", "meeting.rttm: who speaks when"),
        ("septool activity meeting.wav --speakers 2-6 --format webvtt -o -", "captions without words, on the terminal"),
    ],
    "extract": [
        ("septool extract call.wav --reference alice.flac -o alice_only.wav", "one voice, known from a recording"),
        ("septool extract calls/ --reference alice.flac -o alice --presence", "only where she speaks; scores printed"),
        ("septool extract meeting.wav --reference meeting.wav@12.5-19", "known from where she speaks alone in it"),
        ("septool extract calls/ --who team.safetensors -o voices", "everyone in the file, which septool enroll wrote"),
    ],
    "enroll": [
        ("septool enroll alice.flac -o alice.safetensors", "one voice, from a recording of it alone"),
        ("septool enroll people/ -o team.safetensors", "a voice for each sub-folder, under its name"),
        (
            "septool enroll meeting.wav --activity meeting.rttm -o met.safetensors",
            "everyone whom septool activity found",
        ),
    ],
    "prepare": [
        ("septool prepare --list", "every corpus: what it is, its licence, size, folder and options"),
        ("septool prepare folder speech/ -o data", "a folder of your own, one sub-folder per speaker"),
        ("septool prepare libri2mix LibriSpeech/ --split dev,test", "a published set, from its published lists"),
    ],
    "prepare folder": [
        (
            "septool prepare folder speech/ -o data",
            "utterances to train on, 200 fixed mixtures to validate and test on",
        ),
        ("septool prepare folder speech/ --split test --sources 3 --mixtures 1000", "all speakers in one test set"),
    ],
    "prepare libri2mix": [
        ("septool prepare libri2mix LibriSpeech/ --split dev,test", "the published mixtures, min mode at 8 kHz"),
        ("septool prepare libri2mix LibriSpeech/ --mix both --noise wham_noise/", "in WHAM!'s noise"),
    ],
    "prepare libri3mix": [
        ("septool prepare libri3mix LibriSpeech/ --sample-rate 16000 --mode max", "three voices, nothing cut"),
    ],
    "prepare wsj0-2mix": [("septool prepare wsj0-2mix wsj0/", "the published mixtures, min mode at 8 kHz")],
    "prepare wsj0-3mix": [("septool prepare wsj0-3mix wsj0/ --split tt", "the test mixtures of three voices")],
    "prepare librispeech-2mix": [
        ("septool prepare librispeech-2mix LibriSpeech/ --protocol galr", "mixtures as the paper of GALR draws them"),
    ],
    "prepare wham": [("septool prepare wham wsj0/ --noise wham_noise/", "two voices in noise, by the published lists")],
    "prepare wsj0-music": [
        ("septool prepare wsj0-music wsj0/ --noise music/", "a voice and music, 0 to 5 dB below it")
    ],
    "prepare aishell2-noise": [
        (
            "septool prepare aishell2-noise AISHELL-2/ --noise noises/ --snr 0 10",
            "a voice in noise 0 to 10 dB below it",
        ),
    ],
    "prepare voxceleb1": [("septool prepare voxceleb1 VoxCeleb1/", "recordings by speaker, and the list of trials")],
    "mix": [
        ("septool mix a.wav b.wav --snr 2 -o mix.wav --sources truth/", "b 2 dB below a; the voices as mixed, too"),
        ("septool mix data/dev-2mix.jsonl -o rendered/ -j 4", "every row of a manifest"),
        ("septool mix a.wav b.wav -o - | septool separate -", "in a pipe"),
        (
            "septool mix data/train-speech.jsonl --conversation OV20 --speakers 2-5 -o talks",
            "conversations, and who speaks",
        ),
    ],
    "train": [
        ("septool train --list", "the recipes: model, data, published scores"),
        ("septool train galr-small -o runs/galr", "checkpoints and a log in runs/galr"),
        ("septool train -o runs/galr --resume", "resume a stopped run"),
        ("torchrun --nproc-per-node 4 -m septool train sepformer-wsj0-2mix", "on four GPUs"),
    ],
    "eval": [
        ("septool eval data/test-2mix.jsonl -m galr --metric si-snri,sdri,pesq", "a model on a manifest"),
        ("septool eval truth/ voices/ --metric si-snri,estoi --out items.csv", "files against references"),
    ],
    "profile": [
        ("septool profile -m galr,papez --lengths 1-5s", "time, memory, MACs and parameters of two models"),
        (
            "septool profile -m galr --lengths 3s --by-layer",
            "distance from the machine's peak speed, and the most expensive layers",
        ),
        ("septool profile --paper sepformer-fig3 --html figure.html", "what a paper prints, beside measurements"),
        ("septool profile -m galr --lengths 4s --rounds 1 --train", "quick, and a training step as well"),
    ],
    "serve": [
        ("septool serve --open", "a page in this machine's browser: drop a recording, listen, download"),
        (
            "septool serve --host 0.0.0.0 --device cuda:0,cuda:1",
            "for other people, who need the token; two recordings at once",
        ),
        (
            "ssh -L 8765:127.0.0.1:8765 gpu-box septool serve",
            "the page of another machine, through an encrypted tunnel",
        ),
    ],
    "doctor": [
        ("septool doctor", "versions, devices, formats, what is missing, and a short test"),
        ("septool doctor --device cuda --json", "the same for a GPU, as JSON lines"),
    ],
    "config": [("septool config show", "every default that a file or a variable sets, and which")],
    "config show": [
        ("septool config show separate", "every option of a verb, its default, and where that comes from"),
        ("SEPTOOL_DEVICE=cpu septool config show --json", "as JSON lines"),
    ],
    "models": [("septool models list --remote", "every checkpoint that septool knows")],
    "models list": [
        ("septool models list --remote", "also those that can be downloaded"),
        ("septool models list --json", "as JSON lines, for other programs"),
    ],
    "models show": [
        ("septool models show galr", "everything recorded in the default checkpoint of GALR"),
        ("septool models show sepformer-libri2mix", "licence, scores, and where it will be stored"),
    ],
    "models fetch": [
        ("septool models fetch sepformer-libri2mix", "published weights, checked and converted"),
        ("septool models fetch hf:speechbrain/sepformer-libri2mix", "the same, by its repository"),
    ],
    "models verify": [("septool models verify", "all checkpoints on this machine")],
    "models convert": [
        (
            "septool models convert auto sepformer-libri2mix/ -o mine.safetensors",
            "a folder in SpeechBrain's layout",
        ),
        (
            "septool models convert jusperlee-dprnn best.pt --sample-rate 8000 --set chunk=250 -o mine.safetensors",
            "a state dict, with what it leaves open",
        ),
    ],
    "models export": [
        ("septool models export galr -o galr.onnx", 'an ONNX file; pip install "septool[onnx]" first'),
        ("septool models export galr --cache", "from then on, separate starts without torch"),
        ("septool models export mine.safetensors --to asteroid -o mine.pth", "for asteroid's from_pretrained"),
    ],
    "models push": [
        ("septool models push mine.safetensors hf:me/mine --licence 'CC BY 4.0'", "with HF_TOKEN set"),
    ],
}
