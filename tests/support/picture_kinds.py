"""Kinds of things and plain words for them: which of ImageNet's thousand classes each takes in."""


def _numbers(ranges: str) -> list[int]:
    """Of `3 7-9`: 3, 7, 8 and 9."""
    bounds = (part.split("-") for part in ranges.split())
    return [number for ends in bounds for number in range(int(ends[0]), int(ends[-1]) + 1)]


WORDS = {
    word: _numbers(ranges)
    for word, ranges in {
        "shark": "2-4",
        "fish": "0-1 389-397",
        "chicken": "7-8",
        "owl": "24",
        "bird": "9-23 80-100 127-144 146",
        "penguin": "145",
        "frog": "30-32",
        "turtle": "33-37",
        "lizard": "38-48",
        "crocodile": "49-50",
        "snake": "52-68",
        "spider": "72-77",
        "crab": "118-121",
        "whale": "147-148",
        "dog": "151-268",
        "wolf": "269-275",
        "fox": "277-280",
        "cat": "281-285",
        "bear": "294-297",
        "beetle": "300-307",
        "butterfly": "321-326",
        "rabbit": "330-332",
        "squirrel": "335",
        "horse": "339",
        "pig": "341-342",
        "cow": "345-346",
        "sheep": "348-349",
        "antelope": "350-353",
        "camel": "354",
        "monkey": "365-382",
        "elephant": "101 385-386",
        "car": "436 475 479 511 581 609 627 656 661 751 817",
        "taxi": "468",
        "bicycle": "444 671 870 880",
        "motorcycle": "665 670",
        "truck": "555 569 675 717 803 864 867",
        "bus": "654 779 874",
        "train": "466 547 565 705 820 829",
        "aeroplane": "404 895 908",
        "ship": "403 510 628 724 780 833 914",
        "boat": "449 472 484 554 576 625 814 871",
        "rocket": "657 744 812",
        "computer": "508 527 590 620 664 673 681 782 810",
        "telephone": "487 528 707",
        "clock": "409 530 892",
        "camera": "732 759",
        "tie": "451 906",
        "hat": "439 452 515 667 808",
        "shoe": "502 514 630 770 774",
        "helmet": "518 560 715",
        "coffee": "504-505 550 967",
        "cup": "968",
        "bottle": "440 720 737 898 907",
        "mushroom": "947 991-997",
        "fence": "489 716 912",
        "bridge": "821 839 888",
        "tower": "437 442 682 900",
        "sign": "919",
    }.items()
}
"""Classes that are hard to tell apart, as breeds are, and rare words for common things."""
KINDS = {
    kind: frozenset(_numbers(ranges))
    for kind, ranges in {
        "animal": "0-397",
        "vehicle": "403-405 407-408 436 444 449-450 466 468 472 475 479 484 510-511 537 547 "
        "554-555 565 569 573 575-576 581 586 603 609 612 625 627-628 654 656-657 660-661 665 "
        "670-671 675 690 701 705 717 724 734 744 751 757 779-780 791 802-803 812 814 817 "
        "820 829 833 847 856 864 866-867 870-871 874 880 895 908 914",
        "clothes": "399-400 411 433 439 443 445 451-452 457 459 461 465 474 496 501-502 514-515 "
        "518 529 552 560 568 578 601 608 610 614-615 617 630 638-639 652 655 658 667 689 697 "
        "715 735 770 774-775 793 796 806 808 824 834 836-837 841-842 869 887 903 906",
        "food and drink": "440-441 504-505 572 737 907 923-969 987",
        "place": "410 415 424-425 437 442 454 460 467 483 497-498 500 509 525 536 538 562 580 "
        "582 598 624 634 663 668 672 682 698 706 718 727 743 755 762 788 819 821 825 832 "
        "839 853 858 860 865 873 877 884 888 900 912 915 970-980",
    }.items()
}
"""What people ask for: what animal, what vehicle. All else is a thing."""


def kind_of(number: int) -> str:
    """Of a class."""
    return next((kind for kind, classes in KINDS.items() if number in classes), "thing")
