"""The data sets of the paper: eight targets of its Table 1, CIFAR-10 of its appendix E, and the three phases of its Fig. 7c.

Where a row says what the authors trained on, the folder is the one in their launch commands. Checksums are md5 of the archives,
with who publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from difftuning.data.archives import Archive
from difftuning.data.layouts import BIRDS, CALTECH, CIFAR, CLASSES, SUN

_NO_CLASSES = "is the archive as it comes, whose classes are in .mat files that nothing here reads"

_ROWS = (
    Archive(
        name="food101",
        title="Food-101 (Bossard et al. 2014)",
        source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        terms="photographs of Foodspotting users; beyond scientific fair use ask their owners",
        images=101_000,
        classes=101,
        part="all images, as the authors did: the folder `images`, and not the 75,750 of the training split",
        checksum="85eeb15f3717b99a5da872d97d918f87 food-101.tar.gz (torchvision)",
        places=(("food-101/images", CLASSES),),
    ),
    Archive(
        name="sun397",
        title="SUN397 (Xiao et al. 2010)",
        source="https://vision.princeton.edu/projects/2010/SUN/",
        terms="no licence published; photographs from web search, for research",
        images=108_753,
        classes=397,
        part="all images, as the authors did; the paper counts 108,753, torchvision 108,754",
        checksum="8ca2778205c41d23104230ba66911c7a SUN397.tar.gz (torchvision)",
        places=(("SUN397", SUN),),
    ),
    Archive(
        name="df20-mini",
        title="Danish Fungi 2020 Mini (Picek et al. 2022)",
        source="https://sites.google.com/view/danish-fungi-dataset",
        terms="non-commercial research",
        images=36_393,
        classes=182,
        part="both splits; which one the authors trained on is not known",
        places=(("df20-mini", CLASSES),),
        refused={"DF20M": "is the archive as it comes, whose classes are in a csv file"},
    ),
    Archive(
        name="caltech101",
        title="Caltech-101 (Li et al. 2004)",
        source="https://data.caltech.edu/records/mzrjq-6wc02",
        terms="CC BY 4.0",
        images=8_677,
        classes=101,
        part="all images of the 101 classes; whether the authors took BACKGROUND_Google, of the same folder, is not known",
        checksum="3138e1922a9193bfa496528edbbc45d0 caltech-101.zip (torchvision)",
        places=(("caltech-101/101_ObjectCategories", CALTECH),),
        refused={"caltech-101/101_ObjectCategories.tar.gz": "is packed; unpack it there"},
    ),
    Archive(
        name="cub200",
        title="CUB-200-2011 (Wah et al. 2011)",
        source="https://data.caltech.edu/records/65de6-vp158",
        terms="photographs belong to their owners; non-commercial research and education",
        images=5_994,
        classes=200,
        part="the training half, as the authors did: the folder `cub200/train`",
        checksum="97eceeb196236b17998738112f37df78 CUB_200_2011.tgz (CaltechDATA)",
        places=(("cub200/train", CLASSES), ("CUB_200_2011", BIRDS)),
        refused={"cub200/images": "has no training half of its own; take the whole archive, CUB_200_2011"},
    ),
    Archive(
        name="artbench10",
        title="ArtBench-10 (Liao et al. 2022)",
        source="https://github.com/liaopeiyuan/artbench (256x256 a-la-ImageFolder)",
        terms="no licence in its README; works of art collected from public collections",
        images=50_000,
        classes=10,
        part="the training split, as the authors did",
        places=(("artbench-10-imagefolder-split/train", CLASSES),),
    ),
    Archive(
        name="flowers102",
        title="Oxford Flowers 102 (Nilsback and Zisserman 2008)",
        source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        terms="no licence published; photographs from the web, for research",
        images=1_020,
        classes=102,
        part="the official training split, ten a class; how many were in the authors' folder `Flowers102/train` is not known",
        checksum="52808999861908f626f3c1f4e79d11fa 102flowers.tgz (torchvision)",
        places=(("flowers102/train", CLASSES),),
        refused=dict.fromkeys(
            ("flowers102/jpg", "flowers-102/jpg", "102flowers/jpg", "flowers102/imagelabels.mat"), _NO_CLASSES
        ),
    ),
    Archive(
        name="stanford-cars",
        title="Stanford Cars (Krause et al. 2013)",
        source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html, which no longer offers it",
        terms="images belong to their owners; non-commercial research",
        images=8_144,
        classes=196,
        part="the training split, as the authors did: the folder `stanford_cars/train`",
        places=(("stanford_cars/train", CLASSES),),
        refused=dict.fromkeys(("stanford_cars/cars_train", "stanford_cars/devkit", "cars_train"), _NO_CLASSES),
    ),
    Archive(
        name="cifar10",
        title="CIFAR-10 (Krizhevsky 2009)",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        terms="no licence published; its report is to be cited",
        images=50_000,
        classes=10,
        part="the training split; the paper does not say which one its appendix E took",
        checksum="c32a1d4ab5d03f1284b67883e8d87530 cifar-10-binary.tar.gz (its own page)",
        places=(("cifar-10-batches-bin", CIFAR), ("cifar10/train", CLASSES)),
        refused={"cifar-10-batches-py": "is pickled, which may run anything when it is read; take the binary version"},
    ),
)
_EVOLVING = tuple(
    Archive(
        name=f"evis-{years}",
        title=f"Evolving Image Search, {years} (Zhou et al. 2022)",
        source="https://lianzhewang.github.io/projects/agda.html",
        terms="no licence published; photographs from web search, for research",
        images=None,
        classes=10,
        part="one phase of the paper's continual transfer (Fig. 7c), which took all three in the order of their years",
        places=((f"evis/{years}", CLASSES),),
    )
    for years in ("2009-2012", "2013-2016", "2017-2020")
)
EVOLVING: Mapping[str, Archive] = MappingProxyType({row.name: row for row in _EVOLVING})
"""The three phases of Evolving Image Search, each a folder a class, by name."""
SETS: Mapping[str, Archive] = MappingProxyType({row.name: row for row in _ROWS})
"""By name."""
