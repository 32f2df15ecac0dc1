"""Fonts of fifteen scripts: which Debian packages hold some, and which letters a picture of each script may show.

A package serves one script only, although many fonts draw Latin letters too: so no font can be met in training under another script.
Letters are those that stand alone: no marks that need a base, so no shaping engine is needed either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from alumnus.packages import Package

# script, package, version, SHA-256, licence (of the fonts; "+exception" allows embedding)
TABLE = """
arabic fonts-arabeyes 2.1-7 344e3dbfc374e675f667ebbaf63e55e858d42c1f2df3d39c27612559a5c1458e GPL-2.0
arabic fonts-kacst 2.01+mry-15 1a83306b736dbc0a26a10d89b924f1aaaa6743ab5218b2b474be6bbb00b6fa89 GPL-2.0
arabic fonts-hosny-amiri 0.113-1 9960dfd0dd13077d8922e0fb742d735377e8eb62c8b08816a86abbc9cd8b9612 OFL-1.1
bengali fonts-beng-extra 3.2.1-1 c7dcba9a609e282c9f719dc9a36c43d275440ad2617bac7995f918fca916be08 GPL-2.0+, GPL-3.0++exception
bengali fonts-lohit-beng-bengali 2.91.5-3 11051cfa522e259988283009a18d30c94367bdf934f06ee57c59c222e692706d OFL-1.1
cyrillic fonts-3270 3.0.1-1 d182dd722580251486253c97c6664e7fd743761a9be3a3479a1ed3177982ead1 BSD-3-Clause, OFL-1.1
cyrillic fonts-cantarell 0.303.1-1 8fdf5687d9e2ce70456664519025a6b48fbaaadbc5b1cfbf8b09f72c2dc5f09b OFL-1.1
cyrillic fonts-comfortaa 3.001-3 33c65e81b201177a56e6528f7ea5fd6b19f2db0bb6f4f95346b9483691851929 OFL-1.1
cyrillic fonts-jura 5.103-3 4fa907bfa547d7a24d554330d1be0a74a65c01f168ce9e175242b837be1f3510 OFL-1.1
cyrillic fonts-oldstandard 2.2really-4 c8c240cf91654f9ae5357b123436612c05820259dd5569f1c090185cb2ec1fdd OFL-1.0
cyrillic fonts-paratype 20181108-3 1826b728a79fbb8ed1b6c1ddc240ad6cce39b84c98bb568d8b10f7b7d4f99745 ParaType Free Font License
cyrillic fonts-play 1.002+20150307.1-0.1 274f6e95f668f1fff3441056e968a4c947ac975b29000d9c513bd06bb7f7f9d4 OFL-1.1
cyrillic fonts-yanone-kaffeesatz 2.0+git20211102+ds-1 f877e8ad4fd0aa8c20ac104c9eef69b54dcdc93e2e0d09a01fe5acfc89371980 OFL-1.1
devanagari fonts-deva-extra 3.0-6 d2febb47e7fa1eff65d06ece7ec3d5b11b092031ffae53a764fad6cf308d21b6 GPL-2.0+
devanagari fonts-gargi 2.0-6 8dd15d756ae594f34b76b9a102cb632d3cae999fe3e4ba526ef2a561a98abd7b GPL-2.0+
devanagari fonts-lohit-deva 2.95.4-5 f872a508d33322c1c24199656c1edac637c1df63d62cb47e2d23629aa770652f OFL-1.1
devanagari fonts-nakula 1.0-4 d29808a4bdaec9ff934aa7b3ebb34c01f69bfc450bcc042b24222ea90bd6c714 GPL-2.0+
devanagari fonts-sahadeva 1.0-5 f8bac97cc8d2b3859bf6a0107e8c1fd7ea65fba2859f260b77668b77a46b3210 GPL-2.0+
devanagari fonts-samyak-deva 1.2.2-6 362f4461602309d493e9707bd357a8390531132c5507fca96779bdb9d2cefdd9 GPL-3.0++exception
devanagari fonts-sarai 1.0-3 1ae6524bf4133d01219c64917182a1f574440744cef29b5ec384c98cc1552204 GPL-2.0
ethiopic fonts-senamirmir-washra 4.1-10 7e7fc99c8af6df2840ac2dc723c676bf1a1e3dd166a3e29dbe53e82b4e9ab1bb OFL-1.1
ethiopic fonts-sil-abyssinica 2.100-3 8511c4188506a9890d08c9d9501316bffd89fd46b01d23d1c55ca6d1ba757db4 OFL-1.1
georgian fonts-bpg-georgian 2012-5 49f4da40b766e073e58a731b66fa6a4b28c0265fbfefbb62e8199a2565072431 GPL-2.0+exception, Bitstream-Vera
greek fonts-gfs-artemisia 1.1-6 434a089684b7ae431e9a721751aca8f4359d9eefa284ed994e9d45414a4aad81 OFL-1.1
greek fonts-gfs-baskerville 1.1-6 81d6c2748c1da201dfe57d8d123a2f6042d0bb64c2e882dbebadce205f55a102 OFL-1.1
greek fonts-gfs-bodoni-classic 1.1-6 7e8ac3f4e152eefa896f4296e1c3db844b3a33318fbff316046c5b0f64f69701 OFL-1.1
greek fonts-gfs-complutum 1.1-7 f1b58078fa13c3b8e930c918bd7a767f2e64798e18c08529da75a56e5b1e50d7 OFL-1.1
greek fonts-gfs-gazis 1.1-6 1f1a33cd8e3aa4cbdee52fb2c61e593d9c75a7a31175d02d4ae7908d71c3ef7f OFL-1.1
greek fonts-gfs-neohellenic 1.1-7 41169eb825b0ea8264d997c6c14f2cbb17278b25984d19bbf753e71f558c14a3 OFL-1.1
greek fonts-gfs-olga 1.1-6 a66bfd9e2b7125122e4b1101e2995e1dd6c2348e4b48c3a60e9b80d8ce491207 OFL-1.1
greek fonts-gfs-porson 1.1-7 5421bc4e09a991cca083aa75e08a4b40475dad383cbf8c439829f6205cdba630 OFL-1.1
greek fonts-gfs-solomos 1.1-6 092f1d038917ab8bad7211362c114cdc0b07727a60372d9b021a2c95b541845e OFL-1.1
greek fonts-gfs-theokritos 1.1-6 e2a51c99c99ae455a70e978199303661bd01e6fcd07b365cf7926ff4c40ec543 OFL-1.1
gujarati fonts-gujr-extra 1.0.1-1 52fa3bc8e04e4935b661152857e5203ef994d9c00f204beed64e78354f088ad5 GPL-2.0+
gujarati fonts-lohit-gujr 2.92.4-4 fb69ad1185b32c2d9b0000194f6ccae74c07f2aa1124dbd959c946c588a07d9e OFL-1.1
gujarati fonts-samyak-gujr 1.2.2-6 63dd78869318d5c5a14babee5cfada5e093add24b82c98922a112c96cce4298e GPL-3.0++exception
hebrew culmus 0.133-1 d13eb8269204532e4239ce0b133343b8f764fb2069e057ea86060e7396101b30 GPL-2.0, Bitstream-Vera
khmer fonts-khmeros 5.0-9 15bfe6ed4f08818b5d6ead58146a0280adeafd959c912d2a5069a4202713fc82 LGPL-2.1+
latin fonts-breip 1:0.5.1-3 1f0ea903300b89cb55d107ee4a12be82118ada0384d8bd9db0aad8e1f8c1aa49 OFL-1.0
latin fonts-crosextra-caladea 20200211-1 dd51af7629df5a2f3799f889cdf63d5abdda32e94e5de59398f728d98604a240 Apache-2.0
latin fonts-ecolier-court 1.00-6 8ce2aba588adffc3bff453dae91af24b26ba7d0ce458127ad38f68d4fd36415b OFL-1.1
latin fonts-goudybookletter 2010.07.03-6 25f3c8db503e161f70d0e6c26143f84b44d76487af1e4b1100c9bff0aa527346 public domain
latin fonts-humor-sans 1.0-4 84bd0c40b65dc345e05396a4ffb64282c14fbbb6e7079126eeabc92bd9fe7311 OFL-1.1
latin fonts-inconsolata 001.010-6 bb5015c631cd47aa7d9d6e0ecd101f0e1234300f935e7719ea32ed9b640f0ac4 OFL-1.0
latin fonts-isabella 1.202-4 ee0c30fd0b3fc6f0ab7cf1c1449e55b898fc77d43cd4afc07e936d472e0f80b3 LGPL-2.0+
latin fonts-lobster 2.0-2.1 9379824d3f3bc44844aa07cb9ad4e6bfd99a785e34668c5dba410947b715dc1b OFL-1.1
latin fonts-prociono 2.3-6 95756728048274924e02263a33357af1bba7e6509ffc2581238deb55c0eb1760 public domain
latin fonts-quattrocento 1.1-2.1 e59b8d429493e785cf16ac84b132e302ecb52fb06f0c309f46bdea045c9fc2eb OFL-1.1
latin fonts-rufscript 010-6 72a7300913e52795b7915ac5873eda633a80dcb49bb590711cde83b270b0f606 GPL-3.0+exception
malayalam fonts-smc-anjalioldlipi 7.1.2-2 988fa16850493fb22e24da9cdc388dc687f501c111eaf0b2ae38d9d21fd358bd OFL-1.1
malayalam fonts-smc-chilanka 1.540-2 d68932f23a829325ad859267411d3a666e0506e8ca9f7021997b78eb164909b3 OFL-1.1
malayalam fonts-smc-dyuthi 3.0.2-2 506b6dce74b34b9a3d72742658b8f1566d92668c3bbe9855fe96955e541ebfe8 OFL-1.1
malayalam fonts-smc-karumbi 1.1.2-2 20b715da4c69fd49ccba0b19c0da273ea47d9e9590849b4e283cdabfed3ac3a4 OFL-1.1
malayalam fonts-smc-keraleeyam 3.0.2-2 0d38ef72bf3a75901cae704ede6f56c46e5d76c76fa853bc3f9aec1676a3d9f8 OFL-1.1
malayalam fonts-smc-manjari 2.000-4 7499f2189dcbbf904226006772725c2d3091ea074d941403cffd2e51618e09c7 OFL-1.1
malayalam fonts-smc-meera 7.0.3-1 4587af9b4c86acf4dfc9f251a736059146900c8bc71681d073ddef70abc73c01 OFL-1.1
malayalam fonts-smc-raghumalayalamsans 2.2.1-1 32be2858d767fd9cf3a9bf76b63710e7857f5aa9b72922ebe8e2f664e4d6062d GPL-2.0
malayalam fonts-smc-uroob 2.0.2-1 773a242365fa752ee9cbccfef4fdaa3b5b7bbf834fbdc49f9af9d83eebd3cd7d OFL-1.1
tamil fonts-lohit-taml 2.91.3-2 e3f8f8b3af81f93609e9347b7b9b54d4f22356594150ec4e7f35750c8f7f63a1 OFL-1.1
tamil fonts-samyak-taml 1.2.2-6 e5c8e299b37f6201257efa3581b82dafb17c46edf84707d9c5f7aedb5bad7304 GPL-3.0++exception
tamil fonts-taml-tamu 1.0-4 d357f118947d27a2aaebfdfd6c208e426dcc871d96c730d16ce969395f8cc7e5 GPL-2.0
tamil fonts-taml-tscu 1.0-3 28e914ae31498cecef32cbc7ca3e7d1e8c66e9896958739eeb365bf6b5768cf5 GPL-2.0
telugu fonts-telu-extra 2.0-5 2e3af77304da463c31953436b69fccc89002a10af16d56e9af2b4ff20649f477 GPL-2.0+
telugu fonts-teluguvijayam 2.1-1 f662e34501a53f6d0b2e5bcec682358b9d357403e8956e2d0dbf7ef179b49b3a OFL-1.1
thai fonts-thai-tlwg-web 1:0.7.3-1 6bf1943c454571741ae19be4b1e661178c6c82675c9e7a367337b6a0fe398bd7 GPL-2.0++exception
"""


def _letters(*ranges: tuple[int, int]) -> str:
    """The letters of some ranges of code points, both ends included."""
    points = (point for first, last in ranges for point in range(first, last + 1))
    return "".join(chr(point) for point in points if unicodedata.category(chr(point)).startswith("L"))


LETTERS: Mapping[str, str] = {
    "arabic": _letters((0x0627, 0x063A), (0x0641, 0x064A)),
    "bengali": _letters((0x0985, 0x09B9)),
    "cyrillic": _letters((0x0410, 0x044F)),
    "devanagari": _letters(
        (0x0905, 0x090B), (0x090F, 0x0910), (0x0913, 0x0928), (0x092A, 0x0930), (0x0932, 0x0939)
    ),
    "ethiopic": _letters(
        (0x1208, 0x1246), (0x1260, 0x1286), (0x12A0, 0x12AE), (0x12C8, 0x130E), (0x1320, 0x1357)
    ),
    "georgian": _letters((0x10D0, 0x10F0)),
    "greek": _letters((0x0391, 0x03A9), (0x03B1, 0x03C9)),
    "gujarati": _letters((0x0A85, 0x0A8B), (0x0A8F, 0x0AB9)),
    "hebrew": _letters((0x05D0, 0x05EA)),
    "khmer": _letters((0x1780, 0x17A2)),
    "latin": _letters((0x41, 0x5A), (0x61, 0x7A)),
    "malayalam": _letters((0x0D05, 0x0D39)),
    "tamil": _letters((0x0B85, 0x0BB9)),
    "telugu": _letters((0x0C05, 0x0C39)),
    "thai": _letters((0x0E01, 0x0E2E)),
}


def _package(line: str) -> tuple[str, Package]:
    script, name, version, sha256, licence = line.split(maxsplit=4)
    return script, Package("debian", name, version, sha256, licence)


SCRIPTS: Mapping[str, tuple[Package, ...]] = {
    script: tuple(package for other, package in map(_package, TABLE.strip().splitlines()) if other == script)
    for script in LETTERS
}  # script -> packages with fonts of it
