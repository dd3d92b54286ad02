"""The models, one line each."""

from typing import TYPE_CHECKING

from septool.registry import Registry

if TYPE_CHECKING:
    from septool.models.base import Model

MODELS: Registry["type[Model]"] = Registry(
    "model",
    {
        "adanet": "septool.models.adanet:ADANet",
        "afrcnn": "septool.models.afrcnn:AFRCNN",
        "atss-net": "septool.models.atss_net:AtssNet",
        "atss-net-pit": "septool.models.atss_net_pit:AtssNetPIT",
        "band-gridnet": "septool.models.band_gridnet:BandGridNet",
        "blstm-tasnet": "septool.models.blstm_tasnet:BLSTMTasNet",
        "campplus": "septool.models.campplus:CAMPlusPlus",
        "chimera++": "septool.models.chimera:Chimera",
        "conv-tasnet": "septool.models.conv_tasnet:ConvTasNet",
        "dp-rcnet": "septool.models.dp_rcnet:DPRCNet",
        "dpcl": "septool.models.dpcl:DPCL",
        "dprnn": "septool.models.dprnn:DPRNN",
        "dptnet": "septool.models.dptnet:DPTNet",
        "galr": "septool.models.galr:GALR",
        "papez": "septool.models.papez:Papez",
        "re-sepformer": "septool.models.re_sepformer:RESepFormer",
        "sandglasset": "septool.models.sandglasset:Sandglasset",
        "sepformer": "septool.models.sepformer:SepFormer",
        "speaker-net": "septool.models.speaker_net:SpeakerNet",
        "sudormrf": "septool.models.sudormrf:SuDoRMRF",
        "tf-gridnet": "septool.models.tf_gridnet:TFGridNet",
        "tf-locoformer": "septool.models.tf_locoformer:TFLocoformer",
        "tiny-sepformer": "septool.models.tiny_sepformer:TinySepFormer",
        "two-step-tdcn": "septool.models.two_step_tdcn:TwoStepTDCN",
        "upit-blstm-st": "septool.models.upit_blstm:UPIT",
        "voicefilter": "septool.models.voicefilter:VoiceFilter",
        "wavesplit": "septool.models.wavesplit:Wavesplit",
    },
)

SPEAKER_MODEL = "campplus"  # whose default checkpoint tells voices apart, where no other is named
