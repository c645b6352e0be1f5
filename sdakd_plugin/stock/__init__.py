"""Every place where this plugin replaces a name of BasicSR, or uses one of its classes without the constructor.

``parse_options``
    - replaces or borrows: ``parse_options`` of ``basicsr.utils.options``, ``basicsr.train`` and ``basicsr.test``
    - active: always, with an effect only for models of this plugin
    - why: mistakes are found before a folder is created
    - fails without it: test_mistakes
``loop``
    - replaces or borrows: ``reset`` and ``next`` of the prefetchers, ``__iter__`` of ``PrefetchDataLoader``,
      ``create_train_val_dataloader`` of ``basicsr.train``
    - active: from the beginning of a run of this plugin's models
    - why: the position in the epoch, and signals; BasicSR counts too few epochs if images remain after the last batch
    - fails without it: test_resume, test_interruption
``pipelines``
    - replaces or borrows: ``parse_options``, ``build_model``, ``build_dataset``, ``load_resume_state``,
      ``init_tb_loggers`` and ``MessageLogger`` of ``basicsr.train``
    - active: ``sdakd train``, ``sdakd test``
    - why: resuming without CUDA, saving on signals, a full disk, a correct remaining time at the end, images a second
    - fails without it: test_resume, test_log
``named_errors``
    - replaces or borrows: ``__getitem__`` of one data set, in a subclass of its own
    - active: ``sdakd train``, ``sdakd test``, checks
    - why: the error about an unreadable image names the image
    - fails without it: test_bad_programs
``perceptual_loss``
    - replaces or borrows: ``VGG_PRETRAIN_PATH`` of ``basicsr.archs.vgg_arch``
    - active: while a ``PerceptualLoss`` is built
    - why: VGGs other than VGG19, and a visible download
    - fails without it: test_download
``silence``
    - replaces or borrows: ``initialized_logger`` of ``basicsr.utils.logger``
    - active: inside ``quiet()``
    - why: checks print nothing, and leave the log file to the run
    - fails without it: test_check_command
``degradation``
    - replaces or borrows: ``RealESRGANModel`` without its constructor
    - active: with on-the-fly or fixed degradation
    - why: its constructor needs CUDA
    - fails without it: test_degradation, test_photo_dataset
``validation``
    - replaces or borrows: ``SRModel`` without its constructor
    - active: during validation
    - why: its constructor would build another network
    - fails without it: test_mutual_srgan_model, test_calling

Outside of this package, ``bootstrap.py`` supplies the torchvision module that BasicSR 1.4.2 lacks, because that must
happen before anything else of the plugin is imported.
"""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
