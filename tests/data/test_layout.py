"""The folders of well-known competitions and data sets are read as they are downloaded; what may be
meant in two ways, and what is no classification, is refused in words that help.

The listings are those of each page's "Data" tab or archive, cut to a few files.
"""

import io
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pokefast.data.competition import read_competition
from pokefast.data.layout import Given, find_layout
from pokefast.data.splits import AroundValidSplitter, StratifiedSplitter
from pokefast.errors import UserError

EXPECTED = dict(table=None, id=None, label=(), labels=None, valid=(), test=(), sample=None)


def image(suffix):
    file = io.BytesIO()
    formats = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "png": "PNG"}
    Image.new("RGB", (8, 8), (200, 30, 90)).save(file, formats[suffix])
    return file.getvalue()


BYTES = {suffix: image(suffix) for suffix in ("jpg", "jpeg", "tif", "png")}


def build(root, files, **tables):
    """Write image `files`, paths in one text, and tables by name (a blank stands for a line)."""
    for name in files.split("\n") if "\n" in files else files.split():
        if name := name.strip():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(BYTES.get(file.suffix[1:].lower(), b"something else"))
    for name, text in tables.items():
        (root / f"{name}.csv").write_text("\n".join(text.split()) + "\n")
    return root


def found(root, **given):
    """What was found, as a dict, and the competition that it is read as."""
    layout = find_layout(root, Given(**given))
    competition = read_competition(layout)
    values = {name: getattr(layout, name) for name in EXPECTED} | {"train": layout.train}
    labels = dict(zip(competition.train["Id"], competition.train["label"], strict=True))
    return values, labels, competition


# kaggle.com/c/dog-breed-identification/data
def dog_breeds(root):
    build(
        root,
        "train/000bec18.jpg train/001513df.jpg train/001cdf01.jpg test/000621fb.jpg "
        "test/00102ee9.jpg",
        labels="id,breed 000bec18,boston_bull 001513df,dingo 001cdf01,dingo",
        sample_submission="id,boston_bull,dingo 000621fb,0.5,0.5 00102ee9,0.5,0.5",
    )
    return (
        dict(table="labels.csv", id="id", label=("breed",), train=("train",), test=("test",),
             sample="sample_submission.csv"),
        {"000bec18": "boston_bull", "001513df": "dingo", "001cdf01": "dingo"},
        ["000621fb", "00102ee9"],
    )  # fmt: skip


# kaggle.com/c/cassava-leaf-disease-classification/data
def cassava(root):
    build(
        root,
        "train_images/1000015157.jpg train_images/1000201771.jpg train_images/100042118.jpg "
        "test_images/2216849948.jpg train_tfrecords/ld_train00-1338.tfrec "
        "test_tfrecords/ld_test00-1.tfrec label_num_to_disease_map.json",
        train="image_id,label 1000015157.jpg,0 1000201771.jpg,3 100042118.jpg,3",
        sample_submission="image_id,label 2216849948.jpg,4",
    )
    return (
        dict(table="train.csv", id="image_id", label=("label",), train=("train_images",),
             test=("test_images",), sample="sample_submission.csv"),
        {"1000015157.jpg": "0", "1000201771.jpg": "3", "100042118.jpg": "3"},
        ["2216849948.jpg"],
    )  # fmt: skip


# kaggle.com/c/paddy-disease-classification/data
def paddy(root):
    build(
        root,
        "train_images/blast/100004.jpg train_images/blast/100026.jpg "
        "train_images/normal/100002.jpg test_images/200001.jpg test_images/200002.jpg",
        train="image_id,label,variety,age 100004.jpg,blast,ADT45,45 100026.jpg,blast,ADT45,50 "
        "100002.jpg,normal,KarnatakaPonni,45",
        sample_submission="image_id,label 200001.jpg, 200002.jpg,",
    )
    return (
        dict(table="train.csv", id="image_id", label=("label",), train=("train_images",),
             test=("test_images",), sample="sample_submission.csv"),
        {"100004.jpg": "blast", "100026.jpg": "blast", "100002.jpg": "normal"},
        ["200001.jpg", "200002.jpg"],
    )  # fmt: skip


# kaggle.com/c/plant-pathology-2020-fgvc7/data
def plant_pathology_2020(root):
    build(
        root,
        "images/Train_0.jpg images/Train_1.jpg images/Train_2.jpg images/Test_0.jpg "
        "images/Test_1.jpg",
        train="image_id,healthy,multiple_diseases,rust,scab Train_0,0,0,0,1 Train_1,0,1,0,0 "
        "Train_2,1,0,0,0",
        test="image_id Test_0 Test_1",
        sample_submission="image_id,healthy,multiple_diseases,rust,scab Test_0,0.25,0.25,0.25,0.25 "
        "Test_1,0.25,0.25,0.25,0.25",
    )
    return (
        dict(table="train.csv", id="image_id",
             label=("healthy", "multiple_diseases", "rust", "scab"), train=("images",),
             test=("images",), sample="sample_submission.csv"),
        {"Train_0": "scab", "Train_1": "multiple_diseases", "Train_2": "healthy"},
        ["Test_0", "Test_1"],
    )  # fmt: skip


# kaggle.com/c/plant-seedlings-classification/data
def plant_seedlings(root):
    build(
        root,
        """train/Black-grass/0050f38b3.png
        train/Black-grass/0183fdf68.png
        train/Common Chickweed/000c1434d.png
        test/0021e90e4.png
        test/003d61042.png""",
        sample_submission="file,species 0021e90e4.png,Sugarbeet 003d61042.png,Sugarbeet",
    )
    return (
        dict(labels="folders", train=("train",), test=("test",), sample="sample_submission.csv"),
        {"Black-grass/0050f38b3.png": "Black-grass", "Black-grass/0183fdf68.png": "Black-grass",
         "Common Chickweed/000c1434d.png": "Common Chickweed"},
        ["0021e90e4.png", "003d61042.png"],
    )  # fmt: skip


# kaggle.com/c/aptos2019-blindness-detection/data
def aptos(root):
    build(
        root,
        "train_images/000c1434d8d7.png train_images/001639a390f0.png train_images/0024cdab0c1e.png "
        "test_images/0005cfc8afb6.png test_images/003f0afdcd15.png",
        train="id_code,diagnosis 000c1434d8d7,2 001639a390f0,4 0024cdab0c1e,2",
        test="id_code 0005cfc8afb6 003f0afdcd15",
        sample_submission="id_code,diagnosis 0005cfc8afb6,0 003f0afdcd15,0",
    )
    return (
        dict(table="train.csv", id="id_code", label=("diagnosis",), train=("train_images",),
             test=("test_images",), sample="sample_submission.csv"),
        {"000c1434d8d7": "2", "001639a390f0": "4", "0024cdab0c1e": "2"},
        ["0005cfc8afb6", "003f0afdcd15"],
    )  # fmt: skip


# kaggle.com/c/leaf-classification/data
def leaf(root):
    build(
        root,
        "images/1.jpg images/2.jpg images/3.jpg images/4.jpg images/5.jpg",
        train="id,species,margin1,margin2 1,Acer_Opalus,0.007812,0.023438 "
        "2,Pterocarya_Stenoptera,0.005859,0.0 5,Acer_Opalus,0.0,0.003906",
        test="id,margin1,margin2 4,0.019531,0.009766 3,0.007812,0.005859",
        sample_submission="id,Acer_Opalus,Pterocarya_Stenoptera 4,0.0101,0.0101 3,0.0101,0.0101",
    )
    return (
        dict(table="train.csv", id="id", label=("species",), train=("images",), test=("images",),
             sample="sample_submission.csv"),
        {"1": "Acer_Opalus", "2": "Pterocarya_Stenoptera", "5": "Acer_Opalus"},
        ["3", "4"],
    )  # fmt: skip


# kaggle.com/c/aerial-cactus-identification/data; its archives hold a folder of their own name
def aerial_cactus(root):
    build(
        root,
        "train/train/0004be2c.jpg train/train/000c8a36.jpg train/train/000d1e9a.jpg "
        "test/test/000940378.jpg test/test/0017c3c1.jpg",
        train="id,has_cactus 0004be2c.jpg,1 000c8a36.jpg,1 000d1e9a.jpg,0",
        sample_submission="id,has_cactus 000940378.jpg,0.5 0017c3c1.jpg,0.5",
    )
    return (
        dict(table="train.csv", id="id", label=("has_cactus",), train=("train",), test=("test",),
             sample="sample_submission.csv"),
        {"0004be2c.jpg": "1", "000c8a36.jpg": "1", "000d1e9a.jpg": "0"},
        ["000940378.jpg", "0017c3c1.jpg"],
    )  # fmt: skip


# kaggle.com/c/cifar-10/data: ids are numbers, the same in training and test
def cifar10(root):
    build(
        root,
        "train/1.png train/2.png train/3.png test/1.png test/2.png test/10.png",
        trainLabels="id,label 1,frog 2,truck 3,truck",
        sampleSubmission="id,label 1,cat 2,cat 10,cat",
    )
    return (
        dict(table="trainLabels.csv", id="id", label=("label",), train=("train",), test=("test",),
             sample="sampleSubmission.csv"),
        {"1": "frog", "2": "truck", "3": "truck"},
        ["1", "10", "2"],
    )  # fmt: skip


# kaggle.com/c/histopathologic-cancer-detection/data
def histopathologic(root):
    build(
        root,
        "train/f38a6374.tif train/c18f2d88.tif train/755db627.tif test/0b2ea2a8.tif "
        "test/95596b92.tif",
        train_labels="id,label f38a6374,0 c18f2d88,1 755db627,0",
        sample_submission="id,label 0b2ea2a8,0 95596b92,0",
    )
    return (
        dict(table="train_labels.csv", id="id", label=("label",), train=("train",), test=("test",),
             sample="sample_submission.csv"),
        {"f38a6374": "0", "c18f2d88": "1", "755db627": "0"},
        ["0b2ea2a8", "95596b92"],
    )  # fmt: skip


# kaggle.com/c/humpback-whale-identification/data: the column Id is the class
def humpback_whales(root):
    build(
        root,
        "train/0000e88ab.jpg train/0001f9222.jpg train/00029d126.jpg test/00028a005.jpg",
        train="Image,Id 0000e88ab.jpg,w_f48451c 0001f9222.jpg,w_c3d896a 00029d126.jpg,w_c3d896a",
        sample_submission="Image,Id 00028a005.jpg,new_whale",
    )
    return (
        dict(table="train.csv", id="Image", label=("Id",), train=("train",), test=("test",),
             sample="sample_submission.csv"),
        {"0000e88ab.jpg": "w_f48451c", "0001f9222.jpg": "w_c3d896a", "00029d126.jpg": "w_c3d896a"},
        ["00028a005.jpg"],
    )  # fmt: skip


# kaggle.com/c/state-farm-distracted-driver-detection/data
def state_farm(root):
    build(
        root,
        "imgs/train/c0/img_44733.jpg imgs/train/c0/img_72999.jpg imgs/train/c1/img_69633.jpg "
        "imgs/test/img_1.jpg imgs/test/img_10.jpg",
        driver_imgs_list="subject,classname,img p002,c0,img_44733.jpg p002,c0,img_72999.jpg "
        "p012,c1,img_69633.jpg",
        sample_submission="img,c0,c1 img_1.jpg,0.5,0.5 img_10.jpg,0.5,0.5",
    )
    return (
        dict(table="driver_imgs_list.csv", id="img", label=("classname",), train=("imgs/train",),
             test=("imgs/test",), sample="sample_submission.csv"),
        {"img_44733.jpg": "c0", "img_72999.jpg": "c0", "img_69633.jpg": "c1"},
        ["img_1.jpg", "img_10.jpg"],
    )  # fmt: skip


# kaggle.com/datasets/puneet6060/intel-image-classification
def intel(root):
    build(
        root,
        "seg_train/seg_train/forest/8.jpg seg_train/seg_train/forest/23.jpg "
        "seg_train/seg_train/sea/1.jpg seg_test/seg_test/forest/20056.jpg "
        "seg_test/seg_test/sea/20072.jpg seg_pred/seg_pred/5.jpg",
    )
    return (
        dict(labels="folders", train=("seg_train",), test=("seg_test",)),
        {"seg_train/forest/8.jpg": "forest", "seg_train/forest/23.jpg": "forest",
         "seg_train/sea/1.jpg": "sea"},
        ["seg_test/forest/20056.jpg", "seg_test/sea/20072.jpg"],
    )  # fmt: skip


# kaggle.com/datasets/ahemateja19bec1025/traffic-sign-dataset-classification: a table of names
def traffic_signs_with_names(root):
    build(
        root,
        "traffic_Data/DATA/0/000_1_0001.png traffic_Data/DATA/0/000_1_0002.png "
        "traffic_Data/DATA/1/001_1_0001.png traffic_Data/DATA/1/001_1_0002.png "
        "traffic_Data/TEST/000_0001.png traffic_Data/TEST/001_0001.png",
        labels="ClassId,Name 0,5kmh 1,15kmh",
    )
    return (
        dict(labels="folders", train=("traffic_Data/DATA",), test=("traffic_Data/TEST",)),
        {"0/000_1_0001.png": "0", "0/000_1_0002.png": "0", "1/001_1_0001.png": "1",
         "1/001_1_0002.png": "1"},
        ["000_0001.png", "001_0001.png"],
    )  # fmt: skip


# kaggle.com/datasets/alxmamaev/flowers-recognition
def flowers(root):
    build(root, "flowers/daisy/100080576.jpg flowers/daisy/101.jpg flowers/tulip/100930342.jpg")
    return (
        dict(labels="folders", train=("flowers",)),
        {"daisy/100080576.jpg": "daisy", "daisy/101.jpg": "daisy", "tulip/100930342.jpg": "tulip"},
        [],
    )  # fmt: skip


# download.pytorch.org/tutorial/hymenoptera_data.zip, the ImageFolder of PyTorch's tutorial
def image_folder(root):
    build(
        root / "hymenoptera_data",
        "train/ants/0013035.jpg train/ants/1030023514.jpg train/bees/1092977343.jpg "
        "val/ants/10308379.jpg val/bees/1032546534.jpg",
    )
    return (
        dict(labels="folders", train=("hymenoptera_data/train",)),
        {"ants/0013035.jpg": "ants", "ants/1030023514.jpg": "ants", "bees/1092977343.jpg": "bees"},
        [],
    )  # fmt: skip


# github.com/fastai/imagenette: imagenette2-160.tgz
def imagenette(root):
    build(
        root,
        "train/n01440764/ILSVRC2012_val_00000293.JPEG train/n01440764/n01440764_10026.JPEG "
        "train/n02102040/n02102040_1001.JPEG val/n01440764/n01440764_141.JPEG",
        noisy_imagenette="path,noisy_labels_0,noisy_labels_50,is_valid "
        "train/n01440764/ILSVRC2012_val_00000293.JPEG,n01440764,n02102040,False "
        "train/n01440764/n01440764_10026.JPEG,n01440764,n01440764,False "
        "train/n02102040/n02102040_1001.JPEG,n02102040,n01440764,False "
        "val/n01440764/n01440764_141.JPEG,n01440764,n01440764,True",
    )
    return (
        dict(labels="folders", train=("train",)),
        {"n01440764/ILSVRC2012_val_00000293.JPEG": "n01440764",
         "n01440764/n01440764_10026.JPEG": "n01440764",
         "n02102040/n02102040_1001.JPEG": "n02102040"},
        [],
    )  # fmt: skip


# github.com/myleott/mnist_png
def mnist_png(root):
    build(
        root / "mnist_png",
        "training/0/1.png training/0/1000.png training/1/10006.png testing/0/10.png "
        "testing/1/1004.png",
    )
    return (
        dict(labels="folders", train=("mnist_png/training",), test=("mnist_png/testing",)),
        {"0/1.png": "0", "0/1000.png": "0", "1/10006.png": "1"},
        ["0/10.png", "1/1004.png"],
    )


# kaggle.com/datasets/gpiosenka/cards-image-datasetclassification: the table says it again
def cards(root):
    names = ["train/ace of clubs/001.jpg", "train/ace of clubs/002.jpg", "train/joker/001.jpg"]
    build(root, "\n".join([*names, "valid/joker/1.jpg", "test/joker/1.jpg", "test/joker/2.jpg"]))
    (root / "cards.csv").write_text(
        "class index,filepaths,labels,card type,data set\n"
        "0,train/ace of clubs/001.jpg,ace of clubs,ace,train\n"
        "0,train/ace of clubs/002.jpg,ace of clubs,ace,train\n"
        "1,train/joker/001.jpg,joker,joker,train\n"
        "1,test/joker/1.jpg,joker,joker,test\n1,valid/joker/1.jpg,joker,joker,valid\n"
    )
    return (
        dict(labels="folders", train=("train",), test=("test",)),
        {"ace of clubs/001.jpg": "ace of clubs", "ace of clubs/002.jpg": "ace of clubs",
         "joker/001.jpg": "joker"},
        ["joker/1.jpg", "joker/2.jpg"],
    )  # fmt: skip


# kaggle.com/datasets/moltean/fruits
def fruits(root):
    build(
        root / "fruits-360",
        """Training/Apple Braeburn/0_100.jpg
        Training/Apple Braeburn/r_7_100.jpg
        Training/Cherry 1/0_100.jpg
        Test/Apple Braeburn/321_100.jpg
        Test/Cherry 1/2_100.jpg
        test-multiple_fruits/apples1.jpg
        readme.md""",
    )
    return (
        dict(labels="folders", train=("fruits-360/Training",), test=("fruits-360/Test",)),
        {"Apple Braeburn/0_100.jpg": "Apple Braeburn",
         "Apple Braeburn/r_7_100.jpg": "Apple Braeburn",
         "Cherry 1/0_100.jpg": "Cherry 1"},
        ["Apple Braeburn/321_100.jpg", "Cherry 1/2_100.jpg"],
    )  # fmt: skip


# kaggle.com/datasets/meowmeowmeowmeowmeow/gtsrb-german-traffic-sign
def traffic_signs(root):
    head = "Width,Height,Roi.X1,ClassId,Path"
    build(
        root,
        "Train/0/00000_00000.png Train/0/00000_00001.png Train/20/00020_00000.png Test/00000.png "
        "Test/00001.png Meta/0.png Meta/20.png",
        Train=f"{head} 27,26,5,0,Train/0/00000_00000.png 27,26,5,0,Train/0/00000_00001.png "
        "27,26,5,20,Train/20/00020_00000.png",
        Test=f"{head} 53,54,6,16,Test/00000.png 42,45,5,1,Test/00001.png",
        Meta="Path,ClassId,ShapeId Meta/0.png,0,0 Meta/20.png,20,1",
    )
    return (
        dict(table="Train.csv", id="Path", label=("ClassId",), train=("Train",), test=("Test",)),
        {"Train/0/00000_00000.png": "0", "Train/0/00000_00001.png": "0",
         "Train/20/00020_00000.png": "20"},
        ["Test/00000.png", "Test/00001.png"],
    )  # fmt: skip


# cs231n.stanford.edu/tiny-imagenet-200.zip: an inner folder in each class folder
def tiny_imagenet(root):
    build(
        root / "tiny-imagenet-200",
        "train/n01443537/images/n01443537_0.JPEG train/n01443537/images/n01443537_1.JPEG "
        "train/n01629819/images/n01629819_0.JPEG val/images/val_0.JPEG val/val_annotations.txt "
        "test/images/test_0.JPEG wnids.txt train/n01443537/n01443537_boxes.txt",
    )
    return (
        dict(labels="folders", train=("tiny-imagenet-200/train",),
             test=("tiny-imagenet-200/test",)),
        {"n01443537/images/n01443537_0.JPEG": "n01443537",
         "n01443537/images/n01443537_1.JPEG": "n01443537",
         "n01629819/images/n01629819_0.JPEG": "n01629819"},
        ["images/test_0.JPEG"],
    )  # fmt: skip


# kaggle.com/datasets/tanlikesmath/diabetic-retinopathy-resized: no test images
def retinopathy(root):
    build(
        root,
        "resized_train/resized_train/10_left.jpeg resized_train/resized_train/10_right.jpeg "
        "resized_train/resized_train/13_left.jpeg",
        trainLabels="image,level 10_left,0 10_right,0 13_left,2",
    )
    return (
        dict(
            table="trainLabels.csv",
            id="image",
            label=("level",),
            train=("resized_train/resized_train",),
        ),
        {"10_left": "0", "10_right": "0", "13_left": "2"},
        [],
    )


# a test folder whose name says nothing: the sample submission names its images
def a_test_folder_by_its_images(root):
    build(
        root,
        "jpegs/tr/z_1.jpg jpegs/tr/z_2.jpg jpegs/te/z_8.jpg jpegs/te/z_9.jpg",
        train="picture,writer,what z_1,3,ONE z_2,4,TWO",
        sample_submission="picture,what z_8,ONE z_9,ONE",
    )
    return (
        dict(table="train.csv", id="picture", label=("what",), train=("jpegs/tr",),
             test=("jpegs/te",), sample="sample_submission.csv"),
        {"z_1": "ONE", "z_2": "TWO"},
        ["z_8", "z_9"],
    )  # fmt: skip


LAYOUTS = [dog_breeds, cassava, paddy, plant_pathology_2020, plant_seedlings, aptos, leaf]
LAYOUTS += [aerial_cactus, cifar10, histopathologic, humpback_whales, state_farm, intel, flowers]
LAYOUTS += [image_folder, imagenette, mnist_png, cards, fruits, traffic_signs, tiny_imagenet]
LAYOUTS += [retinopathy, traffic_signs_with_names, a_test_folder_by_its_images]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_published_layout_is_read_as_it_is(make, tmp_path):
    expected, labels, test = make(tmp_path)
    values, read, competition = found(tmp_path)
    assert values == EXPECTED | expected
    assert read == labels
    assert list(competition.test["Id"]) == test
    assert all(path.is_file() for path in [*competition.train["path"], *competition.test["path"]])


def pets(root):
    """Images in one folder, some with a second table or column."""
    build(root, "images/a.jpg images/b.jpg images/c.jpg images/d.jpg")


def two_tables(root):
    pets(root)
    build(root, "", train="image,label a,x b,y c,x d,y", train_folds="image,label a,x b,y c,y d,y")


def two_label_columns(root):
    pets(root)
    build(root, "", train="image,label,category a,x,u b,y,u c,x,v d,y,v")


def two_id_columns(root):
    pets(root)
    build(root, "", train="left,right,label a,b,x b,a,y c,d,x d,c,y")


# kaggle.com/c/plant-pathology-2021-fgvc8/data
def several_classes_in_a_column(root):
    build(root, "train_images/800113bb.jpg train_images/8002cb32.jpg train_images/80070f75.jpg")
    (root / "train.csv").write_text(
        "image,labels\n800113bb.jpg,healthy\n8002cb32.jpg,scab frog_eye_leaf_spot complex\n"
        "80070f75.jpg,scab\n8002cb33.jpg,complex\n80070f76.jpg,frog_eye_leaf_spot\n"
    )


# kaggle.com/datasets/nih-chest-xrays/sample
def several_classes_with_bars(root):
    build(
        root,
        "images/00000013_005.png images/00000013_026.png images/00000017_001.png",
        sample_labels="Image,Finding_Labels 00000013_005.png,Emphysema|Infiltration "
        "00000013_026.png,Cardiomegaly|Emphysema 00000017_001.png,Cardiomegaly|Infiltration",
    )


# kaggle.com/c/ranzcr-clip-catheter-line-classification/data
def several_ones(root):
    build(
        root,
        "train/1.2.826.jpg train/1.2.827.jpg test/1.2.828.jpg",
        train="StudyInstanceUID,ETT,NGT,CVC,PatientID 1.2.826,0,1,1,ec89 1.2.827,0,0,1,bf4c",
        sample_submission="StudyInstanceUID,ETT,NGT,CVC 1.2.828,0,0,0",
    )


def several_ones_without_a_sample(root):
    several_ones(root)
    (root / "sample_submission.csv").unlink()


# kaggle.com/c/petfinder-pawpularity-score/data
def an_amount(root):
    ids = [f"{i:08x}" for i in range(12)]
    rows = [f"{name},{i % 2},1,{20 + 3 * i}" for i, name in enumerate(ids)]
    build(
        root,
        " ".join(f"train/{name}.jpg" for name in ids) + " test/4128bae2.jpg",
        train=" ".join(["Id,Eyes,Face,Pawpularity", *rows]),
        sample_submission="Id,Pawpularity 4128bae2,65.2",
    )


def an_amount_with_a_fraction(root):
    pets(root)
    build(root, "", train="image,label a,0.31 b,1.7 c,2.25 d,0.4")


# kaggle.com/c/tgs-salt-identification-challenge/data
def images_and_masks(root):
    build(
        root,
        "train/images/a.png train/images/b.png train/masks/a.png train/masks/b.png",
        train="id,rle_mask a,1-5 b,7-9",
    )


def folders_in_folders(root):
    build(root, "train/dog/poodle/1.jpg train/dog/husky/1.jpg train/cat/manx/1.jpg")


def two_test_folders(root):
    build(root, "train/cat/1.jpg train/dog/1.jpg test_1/1.jpg test_2/1.jpg")


def two_training_folders(root):
    build(root, "train/cat/1.jpg train/dog/1.jpg training/cat/1.jpg training/dog/1.jpg")


def a_table_of_something_else(root):
    pets(root)
    build(root, "", meta="image,camera a,x b,y c,x d,y", train="image,kind a,u b,u c,v d,v")


def a_table_against_folders(root):
    build(
        root,
        "train/cat/1.jpg train/cat/2.jpg train/dog/3.jpg train/dog/4.jpg",
        train="image,colour 1,red 2,blue 3,red 4,blue",
    )


def two_samples(root):
    pets(root)
    sample = "id,label z,x"
    build(root, "test/z.jpg", sample_submission=sample, sampleSubmission=sample)


def a_class_called_train(root):
    build(root, "bus/1.jpg bus/2.jpg car/1.jpg car/2.jpg train/1.jpg train/2.jpg")


# kaggle.com/c/dogs-vs-cats/data
def classes_in_names(root):
    build(
        root,
        "train/cat.0.jpg train/cat.1.jpg train/dog.0.jpg train/dog.1.jpg test1/1.jpg test1/2.jpg",
        sampleSubmission="id,label 1,0 2,0",
    )


# kaggle.com/c/petfinder-adoption-prediction/data: several images of a row
def ids_of_something_else(root):
    build(
        root,
        "train_images/86e1089a3-1.jpg train_images/86e1089a3-2.jpg train_images/6296e909a-1.jpg",
        train="Type,Age,PetID,AdoptionSpeed 2,3,86e1089a3,2 2,1,6296e909a,0",
    )


def ids_alone(root):
    pets(root)
    build(root, "", train="image a b c d")


def no_images(root):
    build(root, "images/readme.txt", train="image,label a,x b,y")


@pytest.mark.parametrize(
    "make, says",
    [
        (two_tables, "train.csv or train_folds.csv; --labels FILE says which one counts"),
        (two_label_columns, "the class may be in column label or category; --label COL"),
        (two_id_columns, "the columns left and right name different images; --id COL"),
        (several_classes_in_a_column, "column labels is multi-label, as 'scab frog_eye_leaf"),
        (several_classes_with_bars, "column Finding_Labels is multi-label, as 'Emphysema|Infil"),
        (several_ones, "multi-label: 1 rows have not exactly one 1 in the columns ETT, NGT, CVC, "
         "the first is 1.2.826 with 2"),
        (several_ones_without_a_sample, "ETT, NGT, CVC of 0 and 1 (multi-label, as some rows"),
        (an_amount, "column Pawpularity holds 12 different numbers, as 20, 23, 26, 29, 32, ...: a "
         "number to regress on is no class; --label Pawpularity takes each for one"),
        (an_amount_with_a_fraction, "column label holds 4 different numbers, as 0.31, 1.7"),
        (images_and_masks, "train/images/ or train/masks/; --train DIR says which one counts"),
        (folders_in_folders, "the outer folder (cat, dog) or the inner one (husky, poodle in train/"
         "dog/); --labels folders or --labels inner-folders says which"),
        (two_test_folders, "test_1/ or test_2/; --test DIR says which one counts"),
        (two_training_folders, "train/ or training/; --train DIR says which one counts"),
        (a_table_against_folders, "column colour of train.csv or the folder that an image lies in "
         "(cat, dog); --labels train.csv or --labels folders says which"),
        (two_samples, "sampleSubmission.csv and sample_submission.csv may both be the sample"),
        (a_class_called_train, "--train . takes the folders bus/, car/, train/ for classes"),
        (classes_in_names, "--labels names takes the files' names (cat, dog) for classes"),
        (ids_of_something_else, "no labels are found: train.csv names no image"),
        (ids_alone, "no column looks like a class (none but the ids)"),
        (no_images, "no .png/.jpg/"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_may_be_meant_in_two_ways_or_is_no_classification_is_refused(make, says, tmp_path):
    make(tmp_path)
    with pytest.raises(UserError) as error:
        found(tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make, given, labels",
    [
        (two_tables, dict(labels="train_folds.csv"), "xyyy"),
        (two_label_columns, dict(label="category"), "uuvv"),
        (two_id_columns, dict(id="right"), "yxyx"),
        (a_table_of_something_else, dict(label="kind"), "uuvv"),
        (a_table_against_folders, dict(labels="train.csv"), ["red", "blue", "red", "blue"]),
        (a_table_against_folders, dict(labels="folders"), ["cat", "cat", "dog", "dog"]),
        (folders_in_folders, dict(labels="folders"), ["cat", "dog", "dog"]),
        (folders_in_folders, dict(labels="inner-folders"), ["manx", "husky", "poodle"]),
        (classes_in_names, dict(labels="names"), ["cat", "cat", "dog", "dog"]),
        (a_class_called_train, dict(train="."), ["bus", "bus", "car", "car", "train", "train"]),
        (two_training_folders, dict(train="training"), ["cat", "dog"]),
        (two_test_folders, dict(test_folder="test_2"), ["cat", "dog"]),
        (images_and_masks, dict(train="train/images"), ["1-5", "7-9"]),
        (several_ones, dict(label="PatientID"), ["ec89", "bf4c"]),
        (an_amount, dict(label="Pawpularity"), [str(20 + 3 * i) for i in range(12)]),
    ],
)
def test_an_option_decides(make, given, labels, tmp_path):
    make(tmp_path)
    _, read, _ = found(tmp_path, **given)
    assert [read[i] for i in sorted(read)] == list(labels)


def test_a_folder_to_validate_on_is_one_where_it_is_asked_for(tmp_path):
    image_folder(tmp_path)
    said = str(find_layout(tmp_path))
    assert "not used: 2 images in hymenoptera_data/val/; --valid hymenoptera_data/val" in said
    _, labels, competition = found(tmp_path, valid_folder="hymenoptera_data/val")
    train = competition.train.set_index("Id")
    assert len(labels) == 5 and train["is_valid"].sum() == 2
    assert labels["hymenoptera_data/val/bees/1032546534.jpg"] == "bees"
    items = pd.concat([competition.train] * 4, ignore_index=True)
    parts = AroundValidSplitter(StratifiedSplitter(0.2, 0.2))(items)
    assert parts[1] == list(np.flatnonzero(items["is_valid"]))
    assert sorted(sum(parts, [])) == list(range(20)) and len(parts[2]) == 2


def test_what_is_left_alone_is_said(tmp_path):
    cassava(tmp_path)
    build(tmp_path, "preview.png extra/1.jpg train_images/more/2.jpg train_images/notes.txt")
    layout = find_layout(tmp_path)
    assert str(layout).splitlines() == [
        f"{tmp_path}: {line}"
        for line in (
            "labels in train.csv: id column image_id, label column label",
            "training images in train_images/ (4)",
            "test images in test_images/ (1)",
            "submission as sample_submission.csv",
            "not used: 1 images in extra/",
            "not used: preview.png",
            "not used, no images: 1 .txt in train_images/",
        )
    ]
    with pytest.raises(UserError, match="1 training images without a label: train_images/more/2"):
        read_competition(layout)
    paddy(tmp_path / "paddy")
    assert "not used: columns variety, age of train.csv" in str(find_layout(tmp_path / "paddy"))


@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif", "tif", "jfif", "jpe", "PNG", "JPG"])
def test_images_of_every_format_and_in_subfolders_are_for_the_test(suffix, tmp_path):
    dog_breeds(tmp_path)
    (tmp_path / "test" / "00102ee9.jpg").unlink()
    (tmp_path / "test" / "a" / "b").mkdir(parents=True)
    file = tmp_path / "test" / "a" / "b" / f"00102ee9.{suffix}"
    Image.new("RGB", (8, 8)).save(file, {"jfif": "JPEG", "jpe": "JPEG"}.get(suffix))
    _, _, competition = found(tmp_path)
    assert dict(zip(competition.test["Id"], competition.test["path"], strict=True)) == {
        "000621fb": tmp_path / "test" / "000621fb.jpg",
        "00102ee9": file,
    }


def test_images_that_pillow_does_not_read_are_no_half_submission(tmp_path):
    dog_breeds(tmp_path)
    (tmp_path / "test" / "00102ee9.jpg").rename(tmp_path / "test" / "00102ee9.heic")
    with pytest.raises(UserError, match="cannot be read here; save them as PNG: 1 .heic in test/"):
        found(tmp_path)


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(labels="other.csv"), "--labels other.csv: there is no such file or folder in"),
        (dict(id="Image"), "--id Image: no table in"),
        (dict(label="bred"), "--label bred: no table in"),
        (
            dict(labels="labels.csv", label="bred"),
            "labels.csv has the columns id, breed; did you mean breed?",
        ),
        (dict(train="Trains"), "--train Trains: there is no such file or folder in"),
        (dict(test_folder="/tmp"), "--test /tmp: there is no such file or folder in"),
        (dict(sample="s.csv"), "--sample s.csv: there is no such"),
    ],
)
def test_what_is_given_and_not_there_is_named_by_its_option(given, says, tmp_path):
    dog_breeds(tmp_path)
    with pytest.raises(UserError) as error:
        found(tmp_path, **given)
    assert says in str(error.value)


def test_a_link_to_a_folder_above_has_an_end(tmp_path):
    flowers(tmp_path)
    (tmp_path / "flowers" / "daisy" / "again").symlink_to(tmp_path)
    assert len(found(tmp_path)[1]) == 3


def zipped(folder):
    """The bytes of a zip of what is in `folder`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return file.getvalue()


def test_a_zip_with_zips_in_it_is_unpacked_once_beside_it_and_that_is_said(tmp_path, capsys):
    aerial_cactus(tmp_path / "a")  # kaggle's: train.zip holds train/
    for name in ("train", "test"):
        inner = zipped(tmp_path / "a" / name)
        shutil.rmtree(tmp_path / "a" / name)
        (tmp_path / "a" / f"{name}.zip").write_bytes(inner)
    (tmp_path / "aerial.zip").write_bytes(zipped(tmp_path / "a"))
    layout = find_layout(tmp_path / "aerial.zip")
    assert (layout.root, layout.train, layout.test) == (tmp_path / "aerial", ("train",), ("test",))
    assert capsys.readouterr().out == f"{tmp_path}/aerial.zip: unpacked to {tmp_path}/aerial\n"
    assert find_layout(tmp_path / "aerial.zip") == layout
    assert capsys.readouterr().out == ""
    (tmp_path / "aerial" / ".unpacked_from.json").unlink()
    with pytest.raises(UserError, match="where something else is"):
        find_layout(tmp_path / "aerial.zip")
    with pytest.raises(UserError, match="no .*images in it; unpack its .zip files"):
        find_layout(tmp_path / "a")


@pytest.mark.parametrize("spoil", ["cut", "escape", "absolute"])
def test_a_zip_that_is_damaged_or_leads_out_leaves_nothing(spoil, tmp_path):
    flowers(tmp_path / "a")
    data = zipped(tmp_path / "a")
    file = tmp_path / "b" / "flowers.zip"
    file.parent.mkdir()
    file.write_bytes(data[: len(data) // 2] if spoil == "cut" else data)
    if spoil != "cut":
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("../x.png" if spoil == "escape" else "/x.png", b"")
    with pytest.raises(UserError, match="cannot be read" if spoil == "cut" else "leads out of"):
        find_layout(file)
    assert list(tmp_path.rglob("*.part")) == [] and list(file.parent.iterdir()) == [file]


def test_a_zip_in_a_folder_that_may_not_be_written_is_unpacked_in_the_cache(tmp_path, monkeypatch):
    flowers(tmp_path / "a")
    (tmp_path / "flowers.zip").write_bytes(zipped(tmp_path / "a"))
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert find_layout(tmp_path / "flowers.zip").root.is_relative_to(tmp_path / "cache")
